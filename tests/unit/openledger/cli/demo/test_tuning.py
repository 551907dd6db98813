"""The demo's fine-tune: begun once, and begun anew when the last attempt failed for good."""

from __future__ import annotations

import pytest

from openledger.cli.demo import tuning
from openledger.cli.demo.state import State
from openledger.factory.v1 import factory_pb2 as pb


class Factory:
    """Answers a request id as the Factory does: with what it made when it first saw it."""

    def __init__(self) -> None:
        self.created: dict[str, pb.FineTune] = {}
        self.now: dict[str, pb.FineTune] = {}

    def CreateFineTune(self, request: pb.CreateFineTuneRequest) -> pb.FineTune:
        if request.request_id not in self.created:
            made = pb.FineTune(name=f"fineTunes/{len(self.created) + 1}", state=pb.FINE_TUNE_STATE_QUEUED)
            self.created[request.request_id] = self.now[made.name] = made
        return self.created[request.request_id]

    def GetFineTune(self, request: pb.GetFineTuneRequest) -> pb.FineTune:
        return self.now[request.name]

    def WatchFineTune(self, request: pb.WatchFineTuneRequest) -> list[pb.FineTuneEvent]:
        return [pb.FineTuneEvent(sequence=request.after_sequence + 1, message="the end")]

    def end(self, name: str, state: pb.FineTuneState, message: str = "") -> None:
        self.now[name] = pb.FineTune(name=name, state=state, reason="DISK_FULL" if message else "", message=message)


class Client:
    def __init__(self) -> None:
        self.factory = Factory()

    async def call(self, method, request):
        return method(request)

    async def stream(self, method, request, timeout):
        for event in method(request):
            yield event


@pytest.fixture
def client():
    return Client()


async def begin(client, folder, said):
    """As a start of the demo does it, whose memory is what the last one wrote."""
    state = State.load(folder / "demo.json")
    return (await tuning.begin(client, state, "base", "datanets/d/snapshots/1", 5, said.append)).name


@pytest.mark.parametrize("state", (pb.FINE_TUNE_STATE_TRAINING, pb.FINE_TUNE_STATE_SUCCEEDED))
async def test_a_fine_tune_that_did_not_end_badly_is_begun_once(client, tmp_path, state):
    said = []
    assert await begin(client, tmp_path, said) == "fineTunes/1"
    client.factory.end("fineTunes/1", state)
    assert await begin(client, tmp_path, said) == "fineTunes/1"
    assert said == []


@pytest.mark.parametrize("state", (pb.FINE_TUNE_STATE_FAILED, pb.FINE_TUNE_STATE_CANCELLED))
async def test_one_that_failed_for_good_is_begun_anew_by_the_next_start_which_says_so(client, tmp_path, state):
    said = []
    await begin(client, tmp_path, said)
    client.factory.end("fineTunes/1", state, "no space left on device.")
    assert await begin(client, tmp_path, said) == "fineTunes/2"
    assert said == ["the last attempt ended without a model (DISK_FULL no space left on device): this is attempt 2"]
    assert await begin(client, tmp_path, said) == "fineTunes/2"
    client.factory.end("fineTunes/2", state)
    assert await begin(client, tmp_path, said) == "fineTunes/3"
    assert said[1:] == ["the last attempt ended without a model (it was cancelled): this is attempt 3"]


async def test_who_watches_one_that_fails_is_told_why_and_what_to_do(client, tmp_path):
    await begin(client, tmp_path, [])
    client.factory.end("fineTunes/1", pb.FINE_TUNE_STATE_FAILED, "no space left on device")
    with pytest.raises(RuntimeError, match=r"no space left on device\. Start the demo again to try once more"):
        await tuning.watch(client, "fineTunes/1", lambda event: None)
