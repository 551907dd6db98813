"""A file's bytes on their way in, and files that bring their reader down."""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.datanet import parse
from services.datanet.files.found import Problem
from services.datanet.files.limits import Limits
from services.datanet.files.mapping import Entry
from services.datanet.parse import Arriving, Parsing
from services.datanet.upload import Room
from services.kit import contained
from services.kit.contained import Workers
from services.kit.errors import Fault

FAULTY = "tests.contained_files"
DIGEST = hashlib.sha256(b"abcd").hexdigest()


def refusal(*arguments, chunks=(b"ab", b"cd")) -> str:
    def send() -> None:
        with Arriving(Room(100), 10, *arguments) as file:
            for chunk in chunks:
                file.add(chunk)
            file.close()

    with pytest.raises(Fault) as caught:
        send()
    return caught.value.reason


@pytest.mark.parametrize("declared", ((4, DIGEST), (0, ""), (4, ""), (0, DIGEST)))
def test_what_arrives_is_what_was_declared_and_cannot_be_changed(declared):
    with Arriving(Room(100), 10, *declared) as file:
        file.add(b"ab")
        file.add(b"cd")
        file.close()
        assert os.pread(file.handle, 10, 0) == b"abcd"
        with pytest.raises(PermissionError):
            os.pwrite(file.handle, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(file.handle, 0)


def test_what_is_not_what_was_declared_is_refused():
    assert refusal(5, "") == "FILE_MISMATCH"
    assert refusal(4, "0" * 64) == "FILE_MISMATCH"
    assert refusal(11, "") == "FILE_TOO_LARGE"
    assert refusal(0, "", chunks=(b"x" * 6, b"x" * 5)) == "FILE_TOO_LARGE"


def test_files_share_a_room_and_give_it_back():
    room = Room(10)
    with Arriving(room, 10, 0, "") as file:
        file.add(b"x" * 6)
        with pytest.raises(Fault) as caught, Arriving(room, 10, 0, "") as other:
            other.add(b"x" * 5)
        assert caught.value.reason == "UPLOADS_FULL"
    with Arriving(room, 10, 0, "") as file:
        file.add(b"x" * 10)


@asynccontextmanager
async def reader(seconds=20.0):
    workers = Workers(FAULTY, at_once=1, memory=2**29)
    parsing = Parsing(workers, seconds, Limits(), f"{FAULTY}:parse")

    async def read(data: bytes, name: str = "a.txt") -> list[Entry | Problem]:
        with Arriving(Room(2**30), 2**26, 0, "") as file:
            file.add(data)
            file.close()
            answer = await parsing.parse(file.handle, name, ["text"], {})
            found = list(answer.found())
            assert len(found) == answer.about.entry_count + answer.about.problem_count
            return found

    try:
        yield read
    finally:
        await workers.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    (
        (b"CRASH", "FILE_CRASHED"),
        (b"SWELL", "FILE_TOO_COMPLEX"),
        (b"RAISE", "FILE_UNREADABLE"),
        (b"LIES!", "FILE_UNREADABLE"),
    ),
)
async def test_a_file_that_brings_its_reader_down_is_told_and_the_next_one_is_read(data, reason):
    async with reader() as read:
        (problem,) = await read(data)
        assert (problem.place, problem.reason) == ("", reason)
        assert "what is in the file" not in problem.message
        assert await read(b"good") == [Entry("line 1", {"text": "good"})]


async def test_a_file_that_is_read_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(contained, "BUSY", 0.01)  # this machine may be
    async with reader(seconds=0.5) as read:
        (problem,) = await read(b"SPINS")
        assert problem.reason == "FILE_TOO_SLOW"
        assert await read(b"good") == [Entry("line 1", {"text": "good"})]


async def test_where_the_machine_leaves_no_time_no_file_is_blamed():
    async with reader(seconds=0.5) as read:
        with pytest.raises(Fault, match="Nothing is wrong with yours") as caught:
            await read(b"WAITS")
        assert (caught.value.reason, caught.value.retry_after) == ("READER_UNAVAILABLE", 10)
        assert await read(b"good") == [Entry("line 1", {"text": "good"})]


async def test_the_service_does_not_grow_with_what_it_has_others_read():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async with reader() as read:
        await read(b"good")
        before = resident()
        for _ in range(3):
            assert (await read(b'{"text": "' + b"x" * 2**25, "a.jsonl"))[0].reason == "LINE_TOO_LONG"
        assert resident() - before < 2**25


def test_a_name_that_misleads_is_told():
    assert parse.shown("a/b.txt") == ("b.txt", None)
    name, problem = parse.shown("p\u0430y.txt")
    assert name == "p\u0430y.txt"
    assert problem is not None
    assert (problem.reason, "Cyrillic" in problem.message) == ("NAME_MISLEADS", True)
