"""Which files are meant, what goes under one declaration, and what is tried again."""

from __future__ import annotations

import grpc
import pytest

from openledger.cli import uploads
from openledger.client import ApiError, Wallet
from openledger.datanet.v1 import datanet_pb2 as pb

ADA, BOB = (Wallet("0x" + digits * 32) for digits in ("11", "22"))
TERMS = pb.Datanet(name="datanets/terms", licence="MIT")


def drafts(*texts: str) -> list[pb.ParsedRecord]:
    return [pb.ParsedRecord(index=index, fields={"text": text}, source="a") for index, text in enumerate(texts)]


def test_folders_are_searched_hidden_files_left_out_and_each_file_is_taken_once(tmp_path):
    for name in ("b.txt", "a.txt", ".c.txt", "in/d.txt", ".in/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = uploads.found([tmp_path / "b.txt", tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b.txt", "a.txt", "in/d.txt"]
    assert uploads.found([tmp_path / ".c.txt"]) == [tmp_path / ".c.txt"]
    with pytest.raises(ValueError, match="no file"):
        uploads.found([tmp_path, tmp_path / "none"])


def test_parts_are_bounded_in_records_and_bytes_and_keep_the_order(monkeypatch):
    monkeypatch.setattr(uploads, "PART_RECORDS", 3)
    monkeypatch.setattr(uploads, "PART_BYTES", 200)
    given = drafts("a", "b", "c", "d", "x" * 500, "e", "y" * 150, "z" * 150)
    made = list(uploads.parts(given))
    assert [[draft.index for draft in part] for part in made] == [[0, 1, 2], [3], [4], [5, 6], [7]]
    assert list(uploads.parts([])) == []


def test_a_request_id_follows_from_what_is_signed_and_from_nothing_else():
    def request_id(texts=("one", "two"), wallet=ADA, **changes):
        into = pb.Datanet()
        into.CopyFrom(TERMS)
        into.MergeFrom(pb.Datanet(**changes))
        return uploads._header(wallet, into, drafts(*texts)).request_id

    assert request_id() == request_id() == request_id(record_count=7)
    others = (
        request_id(("one",)),
        request_id(wallet=BOB),
        request_id(name="datanets/other"),
        request_id(licence="CC-BY-4.0"),
    )
    assert len({request_id(), *others}) == 5


@pytest.mark.parametrize(
    ("code", "retry", "tries"),
    (
        (grpc.StatusCode.UNAVAILABLE, None, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 86_400.0, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, None, 1),
    ),
)
async def test_what_passes_is_waited_for_and_what_does_not_is_not(monkeypatch, code, retry, tries):
    count, waited = 0, []

    async def sleep(seconds):
        waited.append(seconds)

    async def work():
        nonlocal count
        count += 1
        if count < 3:
            raise ApiError(code, "WHY", "words", {}, retry)
        return "done"

    monkeypatch.setattr(uploads.asyncio, "sleep", sleep)
    if tries == 1:
        with pytest.raises(ApiError):
            await uploads._again(work)
    else:
        assert await uploads._again(work) == "done"
    assert (count, waited) == (tries, [retry or 1] * (tries - 1))


async def test_it_is_not_tried_for_ever(monkeypatch):
    async def sleep(seconds):
        pass

    async def away():
        raise ApiError(grpc.StatusCode.UNAVAILABLE, "UNREACHABLE", "words", {}, None)

    monkeypatch.setattr(uploads.asyncio, "sleep", sleep)
    with pytest.raises(ApiError, match="UNREACHABLE"):
        await uploads._again(away)
