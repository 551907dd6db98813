"""An export's folder as a source of records: what is erased, what was changed, what is none."""

from __future__ import annotations

import json

import pytest

from openledger.snapshots import files
from services.factory.exported import ExportSource
from tests import trained_world
from tests.trained_world import SNAPSHOT
from tests.unit.services.factory.conftest import records

MADE = records(3, 2)


@pytest.fixture
def place(tmp_path):
    trained_world.export(tmp_path / "export", MADE, erased={MADE[2].name})
    return tmp_path / "export"


async def read(place, start=0):
    return [record async for record in ExportSource([place]).records(SNAPSHOT, start)]


def texts(place):
    return place / "data" / files.FORMATS["jsonl"][0]


async def test_records_are_read_as_a_datanet_would_give_them(place):
    found = await read(place)
    assert [record.leaf for record in found] == list(range(6))
    assert [record.name for record in found] == [record.name for record in MADE]
    kept = [(record.fields, record.contributor) for record in found if record.salt]
    assert kept == [(record.fields, record.contributor) for record in MADE if record.name != MADE[2].name]
    gone = found[2]
    assert (gone.fields, gone.salt, len(gone.commitment)) == ({}, b"", 32)
    assert [record.leaf for record in await read(place, 4)] == [4, 5]


def test_names_of_all_and_of_those_with_a_text(place):
    source = ExportSource([place])
    assert source.names == {SNAPSHOT}
    rows = list(source.rows(SNAPSHOT))
    assert [(row.record, row.contributor) for row in rows] == [(record.name, record.contributor) for record in MADE]
    assert {row.record for row in rows} - source.there(SNAPSHOT) == {MADE[2].name}


def changed(place, change):
    lines = [json.loads(line) for line in texts(place).read_text().splitlines()]
    change(lines)
    texts(place).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "why"),
    (
        (lambda lines: lines[1].__setitem__("completion", "else"), "not what was committed to"),
        (lambda lines: lines[1]["_openledger"].__setitem__("source", "else"), "not what was committed to"),
        (lambda lines: lines[1]["_openledger"].__setitem__("salt", "00" * 32), "not what was committed to"),
        (lambda lines: lines[1]["_openledger"].__setitem__("salt", "00"), "32 bytes"),
        (lambda lines: lines[1]["_openledger"].__setitem__("salt", "zz"), "hex"),
        (lambda lines: lines[1]["_openledger"].pop("salt"), "no salts"),
        (lambda lines: lines[1].pop("_openledger"), "no salts"),
        (lambda lines: lines.reverse(), "no leaf"),
        (lambda lines: lines.append(lines[-1]), "no leaf"),
        (lambda lines: lines[1]["_openledger"].__setitem__("leaf", 99), "no leaf"),
    ),
)
def test_a_text_that_was_changed_is_refused(place, change, why):
    changed(place, change)
    with pytest.raises(ValueError, match=why):
        ExportSource([place]).there(SNAPSHOT)


def test_a_folder_that_is_no_export_is_refused(place, tmp_path):
    with pytest.raises(ValueError, match="no export"):
        ExportSource([tmp_path / "nowhere"])
    file = next((place / "snapshot").glob("records*"))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ValueError, match="another SHA-256"):
        ExportSource([place])
