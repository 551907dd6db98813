"""The demo's fine-tune: begun once, followed to its end, and begun anew by the next start when it did not succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from openledger.cli.demo.patience import PASSING
from openledger.cli.demo.people import ADAPTER_ID, QUESTION, Tell
from openledger.cli.demo.state import State
from openledger.client import ApiError, Client
from openledger.factory.v1 import factory_pb2

EPOCHS, QUICK_EPOCHS, PLACEBOS, SAMPLES = 5, 1, 8, 2
"""Long enough for answers that sound like definitions; enough noise rows for a steady yardstick; curvature from so many
sampled labels that attributing costs no more than plain training (`bench train`), within .01 of the LDS with more."""
_ENDED_BADLY = (factory_pb2.FINE_TUNE_STATE_FAILED, factory_pb2.FINE_TUNE_STATE_CANCELLED)


async def begin(
    client: Client, state: State, base: str, snapshot: str, epochs: int, tell: Tell
) -> factory_pb2.FineTune:
    """The fine-tune of that snapshot; a new one, and `tell` is told so, when the last one failed or was cancelled."""
    spec = factory_pb2.FineTuneSpec(
        base=base,
        snapshots=[snapshot],
        prompt_template=QUESTION,
        completion_template="{definition}",
        epochs=epochs,
        evaluations=3,
        placebos=PLACEBOS,
        curvature_samples=SAMPLES,
    )
    what = f"tune/{snapshot}/{epochs}"
    tuning = await _create(client, state, spec, what)
    if tuning.state in _ENDED_BADLY:
        tell(f"the last attempt ended without a model ({_why(tuning)}): this is attempt {state.next_attempt(what)}")
        tuning = await _create(client, state, spec, what)
    return tuning


async def _create(client: Client, state: State, spec: factory_pb2.FineTuneSpec, what: str) -> factory_pb2.FineTune:
    request_id = state.request_id(f"{what}/{state.attempt(what)}", once=True)
    request = factory_pb2.CreateFineTuneRequest(spec=spec, adapter_id=ADAPTER_ID, request_id=request_id)
    created = await client.call(client.factory.CreateFineTune, request)
    return await _now(client, created.name)  # asked again, it answers with what it made then


async def watch(client: Client, name: str, see: Callable[[factory_pb2.FineTuneEvent], None]) -> factory_pb2.FineTune:
    """Follow a fine-tune to its end; a broken stream is taken up after the last event seen.

    Raises `RuntimeError` when it failed or was cancelled.
    """
    seen = 0
    while True:
        try:
            request = factory_pb2.WatchFineTuneRequest(name=name, after_sequence=seen)
            async for event in client.stream(client.factory.WatchFineTune, request, 1800):
                seen = event.sequence
                see(event)
        except ApiError as error:
            if error.reason not in PASSING:
                raise
            await asyncio.sleep(1)
        tuning = await _now(client, name)
        if tuning.state == factory_pb2.FINE_TUNE_STATE_SUCCEEDED:
            return tuning
        if tuning.state in _ENDED_BADLY:
            raise RuntimeError(f"the fine-tune did not succeed: {_why(tuning)}. Start the demo again to try once more")


async def _now(client: Client, name: str) -> factory_pb2.FineTune:
    tuning: factory_pb2.FineTune = await client.call(
        client.factory.GetFineTune, factory_pb2.GetFineTuneRequest(name=name)
    )
    return tuning


def _why(tuning: factory_pb2.FineTune) -> str:
    return f"{tuning.reason} {tuning.message}".strip().rstrip(".") or "it was cancelled"
