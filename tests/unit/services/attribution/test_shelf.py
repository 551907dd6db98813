"""Private files that are open: how long, what becomes of a damaged one, and what is said of those that are not here."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from openledger.artifacts import ArtifactStore
from services.attribution.fetch import State
from services.attribution.shelf import Availability, Opened, Shelf
from services.kit.private_files import PrivateFiles
from tests.unit.openledger.test_manifest import terms

NAME = "file.bin"


@pytest.fixture
def kept(tmp_path):
    return PrivateFiles(tmp_path / "private")


class Read:
    """What a file was read into: a new one each time."""

    def __init__(self, place):
        self.data = place.read_bytes()
        if self.data == b"nonsense":
            raise ValueError("this is no such file")


def opened(kept, keep=1):
    return Opened(kept, NAME, Read, keep)


def lineage(data, number=0):
    private = {NAME: hashlib.sha256(data).hexdigest()}
    return replace(terms(private_files=private), signer="0x" + "0a" * 20, code=f"openledger {number}")


def put(kept, made, data):
    kept.partial(made.digest, NAME).write_bytes(data)
    kept.finish(made.digest, NAME)


def test_a_file_is_opened_once_and_forgotten_when_it_goes(kept):
    files, made = opened(kept), lineage(b"data")
    assert files.get(made) is None
    put(kept, made, b"data")
    first = files.get(made)
    assert files.get(made) is first
    kept.remove(made.digest)
    assert files.get(made) is None, "what is erased is not shown from memory"
    put(kept, made, b"data")
    assert files.get(made) is not first
    other = lineage(b"data", 1)
    put(kept, other, b"data")
    second, again = files.get(other), files.get(made)
    assert files.get(other) is not second, "one is kept open"
    assert again is not None


def test_a_damaged_file_is_as_if_it_were_not_there_and_its_neighbours_stay(kept):
    made = lineage(b"data")
    put(kept, made, b"dat\1")
    kept.partial(made.digest, "other.bin").write_bytes(b"on its way")
    assert opened(kept).get(made) is None
    assert not kept.place(made.digest, NAME).exists()
    assert kept.partial(made.digest, "other.bin").exists()


class Fetcher:
    """Brings a file after some questions."""

    def __init__(self, *states):
        self.states, self.asked = list(states), []

    def missing(self, revision, name):
        self.asked.append((revision, name))
        return self.states.pop(0)


@pytest.fixture
def shelf(kept, tmp_path):
    artifacts, worker = ArtifactStore(tmp_path / "artifacts"), ThreadPoolExecutor(1)

    def make(made, *states):
        artifacts.put(made.to_bytes())
        return Shelf(opened(kept), Fetcher(*states), artifacts, worker)

    yield make
    worker.shutdown()


def signed(made):
    from openledger import manifest

    return manifest.sign(made, "0x" + "44" * 32)


async def test_what_is_here_comes_with_its_manifest(shelf, kept):
    made = signed(lineage(b"data"))
    put(kept, made, b"data")
    found, file = await shelf(made).get(made.revision, 0)
    assert (found, file.data) == (made, b"data")


async def test_what_is_on_its_way_is_waited_for_and_no_longer(shelf, kept):
    made = signed(lineage(b"data"))
    waiting = shelf(made, State.PENDING, State.ERASED)
    assert await waiting.get(made.revision, 0) is Availability.PENDING
    assert await waiting.get(made.revision, 30) is Availability.ERASED
    assert waiting._fetcher.asked == [(made.revision, NAME)] * 2


async def test_a_model_without_such_a_file_has_none_and_nobody_is_asked(shelf):
    bare = signed(replace(lineage(b"data"), private_files={}))
    assert await shelf(bare).get(bare.revision, 30) is Availability.NONE
    assert await shelf(bare).get("", 30) is Availability.NONE


@pytest.mark.parametrize("known", (True, False))
async def test_what_cannot_be_read_is_not_available(shelf, kept, known):
    made = signed(lineage(b"nonsense"))
    put(kept, made, b"nonsense")
    found = await shelf(made).get(made.revision if known else "adapters/a/revisions/" + "0" * 64, 30)
    assert found is Availability.UNAVAILABLE
