"""Files over real gRPC: records to look at, and one clear word about each file that has none."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from openledger.client import ApiError, Client
from openledger.datanet.v1 import datanet_pb2 as pb
from services.kit.testing import endpoints
from tests import hostile_files as files
from tests import pictures
from tests.datanet_world import ADA, BOB, DATANET, open_datanet, refused, world

PIECE = 2**20


async def messages(data: bytes, name: str, **more) -> AsyncIterator[pb.ParseFileRequest]:
    yield pb.ParseFileRequest(header=pb.FileHeader(**{"datanet": DATANET, "name": name, **more}))
    for start in range(0, len(data), PIECE):
        yield pb.ParseFileRequest(chunk=data[start : start + PIECE])


async def parsed(client: Client, data: bytes, name: str, **more) -> pb.ParseFileResponse:
    """All answers as one."""
    whole = pb.ParseFileResponse()
    async for response in client.stream(client.datanet.ParseFile, messages(data, name, **more)):
        assert not whole.HasField("file")
        whole.MergeFrom(response)
    assert (whole.file.record_count, whole.file.problem_count) == (len(whole.records), len(whole.problems))
    return whole


async def no_file(client: Client, stream: AsyncIterator[pb.ParseFileRequest]) -> str:
    async def take() -> None:
        async for _ in client.stream(client.datanet.ParseFile, stream):
            pass

    return (await refused(take())).reason


async def test_a_file_becomes_records_that_say_where_they_come_from(here):
    data = files.jsonl("one", "two") + b"no object\n"
    async with here.as_(ADA) as client:
        found = await parsed(client, data, "../notes.jsonl", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert [(r.index, r.place, dict(r.fields), r.source) for r in found.records] == [
        (0, "line 1", {"text": "one"}, "notes.jsonl, line 1"),
        (1, "line 2", {"text": "two"}, "notes.jsonl, line 2"),
    ]
    assert [(p.place, p.reason) for p in found.problems] == [("line 3", "LINE_NOT_JSON")]
    assert (found.file.name, found.file.media_type, list(found.file.parts), dict(found.file.mapping)) == (
        "notes.jsonl",
        "application/jsonl",
        ["text"],
        {"text": "text"},
    )


async def test_a_person_says_which_part_is_which_field(here):
    async with here.as_(ADA) as client:
        found = await parsed(client, b"a;b\n1;2\n", "t.csv", mapping={"b": "text"})
        assert [dict(record.fields) for record in found.records] == [{"text": "2"}]
        found = await parsed(client, b"a;b\n1;2\n", "t.csv")
        assert [problem.reason for problem in found.problems] == ["MAPPING_UNCLEAR"]


async def test_many_records_come_in_many_messages(here):
    data = files.jsonl(*(f"{n} " + "x" * 500 for n in range(3000)))
    async with here.as_(ADA) as client:
        answers = [a async for a in client.stream(client.datanet.ParseFile, messages(data, "a.jsonl"))]
    assert [record.index for answer in answers for record in answer.records] == list(range(3000))
    assert len(answers) > 4
    assert [answer.HasField("file") for answer in answers] == [False] * (len(answers) - 1) + [True]


HOSTILE = {
    "bomb.docx": (lambda: files.zip_bomb(2**26), "ARCHIVE_TOO_LARGE"),
    "laughs.docx": (files.docx_of_laughs, "FILE_UNREADABLE"),
    "folded.pdf": (lambda: files.pdf_that_unfolds(2**26, 3), "PAGE_UNREADABLE"),
    "loop.pdf": (files.pdf_with_a_loop, "FILE_UNREADABLE"),
    "locked.pdf": (lambda: files.encrypted_pdf("x", "secret"), "FILE_ENCRYPTED"),
    "wide.csv": (lambda: b",".join(b"%d" % n for n in range(10**6)), "LINE_TOO_LONG"),
    "columns.csv": (lambda: b"," * (2**20 - 1), "TOO_MANY_COLUMNS"),
    "long.jsonl": (lambda: b'{"text": "' + b"x" * (60 * 2**20), "LINE_TOO_LONG"),
    "lie.pdf": (lambda: b"just text", "WRONG_TYPE"),
    "lie.txt": (lambda: files.pdf(["x"]), "WRONG_TYPE"),
    "zero.txt": (lambda: b"", "FILE_EMPTY"),
    "nulls.txt": (lambda: b"\x00" * 1000, "TYPE_NOT_TAKEN"),
    "mixed.txt": (lambda: "naïve ".encode() + b"caf\xe9", "ENCODING_MIXED"),
    "deep.jsonl": (lambda: b"[" * 500_000, "LINE_NOT_JSON"),
    "../../etc/passwd": (lambda: b"", "FILE_EMPTY"),
    "photo\u202egpj.txt": (lambda: b"text", "NAME_MISLEADS"),
    "p\u0430ypal.txt": (lambda: b"text", "NAME_MISLEADS"),
    "long.png": (lambda: files.png(1, 2 * 10**9), "IMAGE_TOO_LARGE"),
    "lie.jpg": (lambda: files.png(10, 10), "WRONG_TYPE"),
    "broken.png": (lambda: files.png(10, 10), "IMAGE_UNREADABLE"),
}


async def test_each_hostile_file_gets_a_clear_word_and_the_good_ones_are_read(here):
    async with here.as_(ADA) as client:
        for name, (make, reason) in HOSTILE.items():
            found = await parsed(client, make(), name)
            assert {problem.reason for problem in found.problems} == {reason}, name
            assert all(len(problem.message) > 10 for problem in found.problems)
            assert "/" not in found.file.name
            assert [dict(r.fields) for r in found.records] == ([{"text": "text"}] if reason == "NAME_MISLEADS" else [])
            good = await parsed(client, b"good", "good.txt")
            assert [dict(record.fields) for record in good.records] == [{"text": "good"}]


async def test_what_is_no_file_is_refused(here):
    async def of(*parts: pb.ParseFileRequest) -> AsyncIterator[pb.ParseFileRequest]:
        for part in parts:
            yield part

    header = pb.ParseFileRequest(header=pb.FileHeader(datanet=DATANET, name="a.txt"))
    async with here.as_(ADA) as client:
        assert await no_file(client, of()) == "HEADER_FIRST"
        assert await no_file(client, of(pb.ParseFileRequest(chunk=b"x"))) == "HEADER_FIRST"
        assert await no_file(client, of(header, header)) == "CHUNKS_AFTER_HEADER"
        assert await no_file(client, messages(b"x", "a.txt", datanet="datanets/none")) == "DATANET_NOT_FOUND"
        assert await no_file(client, messages(b"x", "a.txt", size=2)) == "FILE_MISMATCH"
        assert await no_file(client, messages(b"x", "a.txt", sha256="0" * 64)) == "FILE_MISMATCH"
        assert await no_file(client, messages(b"x", "a.txt", size=2**40)) == "FILE_TOO_LARGE"
        assert [r.place for r in (await parsed(client, b"x", "a.txt")).records] == ["line 1"]


async def test_more_bytes_than_are_taken(ledger, ledger_at, tmp_path):
    bounds = {"max_file_bytes": 1000, "max_files_bytes": 2000, "max_file_records": 2}
    async with world(tmp_path, ledger, ledger_at, **bounds) as here, here.as_(ADA) as client:
        await open_datanet(client)
        assert await no_file(client, messages(b"x" * 1001, "a.txt")) == "FILE_TOO_LARGE"
        found = await parsed(client, files.jsonl("a", "b", "c"), "a.jsonl")
        assert [record.fields["text"] for record in found.records] == ["a", "b"]
        assert [problem.reason for problem in found.problems] == ["FILE_TOO_LONG"]


async def test_an_account_has_one_file_in_hand_and_others_have_theirs(here):
    async with here.as_(ADA) as client, here.as_(BOB) as other:
        running = client.stream(client.datanet.ParseFile, messages(files.jsonl(*["x" * 500] * 5000), "a.jsonl"))
        assert (await anext(running)).records
        assert await no_file(client, messages(b"x", "b.txt")) == "FILE_IN_HAND"
        assert (await parsed(other, b"x", "b.txt")).records
        async for _ in running:
            pass
        assert (await parsed(client, b"x", "b.txt")).records


async def test_who_is_not_signed_in_has_no_file_read_and_always_hears_why(here):
    async with Client(endpoints(datanet=here.where)) as nobody:
        for _ in range(50):  # of as many, a few were told INTERNAL where the service did not hear them out
            assert await no_file(nobody, messages(b"x", "a.txt")) == "SIGN_IN"


async def test_nothing_of_a_file_is_kept(here, tmp_path):
    marked = b"marked bytes that nobody else writes"
    async with here.as_(ADA) as client:
        assert (await parsed(client, marked, "a.txt")).records
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and marked in path.read_bytes()]


async def test_a_datanet_that_one_may_not_see_takes_no_file(here):
    """Holds from the day on which there are private ones."""
    async with here.as_(BOB) as owner, here.as_(ADA) as other:
        try:
            await open_datanet(owner, "closed", visibility=pb.VISIBILITY_PRIVATE)
        except ApiError as error:
            if error.reason != "NOT_OFFERED":
                raise
            return
        assert await no_file(other, messages(b"x", "a.txt", datanet="datanets/closed")) == "DATANET_NOT_FOUND"
        assert (await parsed(owner, b"x", "a.txt", datanet="datanets/closed")).records


async def test_a_photo_becomes_a_record_with_what_it_says_of_itself(here):
    drawn = pictures.drawn()
    data = pictures.saved(drawn, exif=pictures.exif(drawn, artist="Ada Lens", comment="A harbour"))
    async with here.as_(ADA) as client:
        found = await parsed(client, data, "harbour.jpg", mapping={"description": "text"})
        forbidden = pictures.credentialed(data, "cawg.training-mining", {"cawg.ai_training": {"use": "notAllowed"}})
        refusal = await parsed(client, forbidden, "harbour.jpg")
    (record,) = found.records
    assert (dict(record.fields), record.source) == ({"text": "A harbour"}, "harbour.jpg")
    assert (record.image.media_type, record.image.width, record.image.height) == ("image/jpeg", 400, 300)
    assert (record.image.size, record.image.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert record.image.clean_sha256 not in {"", record.image.sha256}
    assert list(found.problems) == []
    assert [problem.reason for problem in refusal.problems] == ["TRAINING_FORBIDDEN"]
    assert list(refusal.records) == []
