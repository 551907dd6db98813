"""What the service's own path from a trace to its receipt costs in CPU time, and in what parts.

`Attributor.attribute` is what the consumer calls for every trace, which is sealed besides; nothing is left out.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.attribute.answers import ABOUT, Answer
from openledger import base_models
from openledger.artifacts import ArtifactStore
from openledger.context import Context
from openledger.split import Rule
from openledger.trace import Trace
from services.attribution.attribute import Attributor
from services.attribution.resolve import Models
from services.attribution.score import Terms
from services.kit import sealing
from tests.context_world import Snapshot

TERMS = Terms(Rule(), "0x" + "f" * 40)
KEY = "0x" + "11" * 32
SECRET = bytes(32)
PARTS = {
    "trunk, forward": ("decoder.py", "trunk"),
    "upper layers, forward, base and adapter": ("decoder.py", "upper"),
    "head, base": ("curvature.py", "token_losses"),
    "head, adapter, with its gradient": ("curvature.py", "head_pass"),
    "backward": ("autograd/__init__.py", "grad"),
    "attaching the adapter": ("lora.py", "attached"),
    "quantising": ("quantize.py", "quantise"),
    "products with the vectors": ("influence/score.py", "scores"),
    "split and receipt": ("attribution/score.py", "receipt"),
    "signature": ("openledger/receipt.py", "sign"),
    "sealing": ("attribute/scoring.py", "sealed"),
}
"""Names of parts, and the functions whose time they are: none of them calls another."""
THINGS = 8
"""Numbered, that a record before a question names."""
_NUMBERS = itertools.count()


class Scoring:
    """One attributor, as the service has it, in this thread."""

    def __init__(self, store: ArtifactStore, base: str, folder: Path, *, keep: int = 8) -> None:
        self._base, self._sha256 = base, base_models.sha256(base)
        self._models = Models(store, base, folder, threads=1, keep=keep)
        self._attributor = Attributor(self._models, store, KEY)
        self._attributor.load()

    def trace(self, answer: Answer, revision: str, records: int = 0) -> Trace:
        """A new answer's trace; records: of as many contributors, before the question."""
        context, prompt = self._laid(answer, records) if records else (None, answer.prompt)
        return Trace(
            response=f"responses/bench{next(_NUMBERS)}",
            base=self._base,
            base_sha256=self._sha256,
            adapter=revision,
            prompt_token_ids=prompt,
            context=context,
            completion_token_ids=answer.completion,
            sampling={"max_tokens": len(answer.completion), "temperature": "0"},
            finish_reason="length",
            payer="accounts/0x" + "c" * 40,
            lease="leases/1",
            fee=10**18,
            platform_fee=10**15,
            start_time="2026-01-02T03:04:05.000000Z",
            end_time="2026-01-02T03:04:06.000000Z",
            engine="bench",
        )

    def seconds(self, answers: Iterable[Answer], revision: str) -> list[float]:
        """CPU seconds of each receipt."""
        return [self.one(answer, revision)[0] for answer in answers]

    def _laid(self, answer: Answer, records: int) -> tuple[Context, tuple[int, ...]]:
        """Things with numbers, so that no record is like another: some fifty tokens each."""
        draw = random.Random(records)
        texts = (
            " ".join(f"{a} {draw.randrange(10_000)}" for a in draw.choices(ABOUT, k=THINGS)) for _ in range(records)
        )
        snapshot = Snapshot.of([(f"0x{n:040x}", text) for n, text in enumerate(texts, start=1)])
        proven = [(snapshot.record(leaf), snapshot.root) for leaf in range(records)]
        context, tokens = Context.lay((), proven, self._models.load().encode)
        return context, (*tokens, *answer.prompt)

    def one(self, answer: Answer, revision: str, records: int = 0) -> tuple[float, bytes]:
        """CPU seconds of one receipt, and the receipt."""
        trace, begun = self.trace(answer, revision, records), time.process_time()
        issued = self._attributor.attribute(trace, TERMS, None)
        sealed(trace)
        return time.process_time() - begun, issued.document

    def parts(self, answers: Sequence[Answer], revision: str) -> dict[str, float]:
        """Mean CPU milliseconds of a receipt's parts; what a profiler adds is spread over them."""
        profile = cProfile.Profile(time.process_time)
        traces = [self.trace(answer, revision) for answer in answers]
        profile.enable()
        for trace in traces:
            self._attributor.attribute(trace, TERMS, None)
            sealed(trace)
        profile.disable()
        stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        taken = dict.fromkeys(PARTS, 0.0)
        for (file, _, function), (*_, cumulative, _) in stats.items():
            for part, (where, name) in PARTS.items():
                if file.endswith("/" + where) and function == name:
                    taken[part] += cumulative
        whole = sum(entry[2] for entry in stats.values())
        taken["the rest"] = whole - sum(taken.values())
        return {part: round(1000 * seconds / len(answers), 2) for part, seconds in taken.items()}


def sealed(trace: Trace) -> str:
    """What is kept of a trace, as the service seals it."""
    return sealing.close(SECRET, trace.dumps(), sealing.bound({"payer": trace.payer}, trace.response))


def median_ms(seconds: Sequence[float]) -> float:
    """Milliseconds."""
    return round(1000 * statistics.median(seconds), 1)


def anonymous_mb() -> float:
    """Memory of this process that is not the page cache of a file, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024, 1)
