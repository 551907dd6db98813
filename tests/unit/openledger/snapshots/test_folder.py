from __future__ import annotations

import json
import re
from pathlib import Path

import mlcroissant
import pyarrow.parquet as pq
import pytest
import yaml

from openledger import canonical, records
from openledger.snapshots import META, files, folder
from openledger.snapshots.documents import (
    CARD,
    CROISSANT,
    MANIFEST,
    PROOF,
    RECORDS,
    Manifest,
    RecordField,
    log_root,
)
from openledger.snapshots.files import Row, Text
from openledger.snapshots.proofs import SnapshotProof
from tests.snapshot_samples import ADA, commitments

COUNT = 2_345
NAME = "datanets/terms/snapshots/1"
ROWS = [
    Row(leaf, f"datanets/terms/records/{leaf:032x}", ADA, "CC-BY-4.0", commitment.hex())
    for leaf, commitment in enumerate(commitments(COUNT))
]
ABOUT = Manifest(
    snapshot=NAME,
    parent="",
    display_name='Terms: "rare" - größer',
    description="# Terms\n\n---\nWith lines, and 'quotes'.",
    licence="CC-BY-4.0",
    licence_notice="Say thanks.",
    tags=["medicine", "yes: no"],
    owner="0x" + "b" * 40,
    create_time=1_790_000_000_000_001,
    record_count=COUNT,
    contributor_count=1,
    root=records.snapshot_root(commitments(COUNT)).hex(),
    fields=[RecordField(id="text", description="The text.", required=True)],
    files={},
)


def put(place: Path) -> Manifest:
    place.mkdir(exist_ok=True)
    return folder.make(place, ABOUT, iter(ROWS))


def holds(place: Path) -> bool:
    try:
        folder.check(place)
    except ValueError:
        return False
    return True


@pytest.fixture
def place(tmp_path):
    put(tmp_path / "snapshot")
    return tmp_path / "snapshot"


def test_a_folder_is_read_again_as_it_was_made(place):
    assert list(files.read_rows(place / RECORDS)) == ROWS
    words, entry = folder.check(place)
    assert (entry.root, entry.manifest) == (ABOUT.root, folder.read_manifest(place).digest())
    assert f"{COUNT} commitments" in words
    assert "no proof.json" in words


def test_the_same_snapshot_gives_the_same_files(place, tmp_path):
    assert put(tmp_path / "again") == folder.read_manifest(place)


def test_croissant_holds_the_metadata_for_valid_and_reads_the_files(place):
    dataset = mlcroissant.Dataset(place / CROISSANT)
    assert dataset.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    rows = list(dataset.records("records"))
    assert len(rows) == COUNT
    assert int(rows[3]["records/leaf"]) == 3
    assert str(rows[3]["records/commitment"], "utf-8") == ROWS[3].commitment


def test_the_card_begins_with_yaml_whatever_people_write(place):
    card = (place / CARD).read_text()
    head = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])
    assert head == {
        "pretty_name": ABOUT.display_name,
        "license": "cc-by-4.0",
        "tags": ["medicine", "yes: no", "openledger"],
        "size_categories": ["1K<n<10K"],
    }
    assert ABOUT.description in card
    assert ABOUT.root in card


@pytest.mark.parametrize("name", (RECORDS, CROISSANT, CARD, MANIFEST))
def test_a_changed_byte_in_any_file_is_found(place, name):
    entry = folder.read_manifest(place).entry()
    proof = SnapshotProof(
        snapshot=entry, last=entry, path=[], last_path=[], log_root=log_root([entry.to_bytes()]).hex()
    )
    (place / PROOF).write_bytes(proof.to_bytes())
    folder.check(place)
    data = (place / name).read_bytes()
    for at in {*range(0, len(data), max(1, len(data) // 150)), len(data) - 1}:
        (place / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert not holds(place), at
    (place / name).write_bytes(data)
    folder.check(place)


@pytest.mark.parametrize("name", (RECORDS, CROISSANT, CARD))
def test_no_file_may_be_missing(place, name):
    (place / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        folder.check(place)


@pytest.mark.parametrize("name", ("../secret", "/etc/passwd", ".hidden", "a/b", "a\\b", "", "a\n", "x" * 101))
def test_a_manifest_cannot_name_files_elsewhere(place, name):
    document = json.loads((place / MANIFEST).read_bytes())
    document["files"][name] = document["files"][CARD]
    (place / MANIFEST).write_bytes(canonical.dumps(document))
    with pytest.raises(ValueError, match="files"):
        folder.check(place)


@pytest.mark.parametrize("name", sorted(files.FORMATS))
def test_texts_are_written_in_each_format(tmp_path, name):
    texts = [Text(row, {"text": f"Wörter {row.leaf}\n"}, "a source", "5" * 64) for row in ROWS[:3]]
    file, opened = files.FORMATS[name]
    with opened(tmp_path / file, ["text", "hint"]) as add:
        add(texts[:1])
        add([])
        add(texts[1:])
    said = {
        "parquet": lambda: pq.read_table(tmp_path / file).to_pylist(),
        "jsonl": lambda: [json.loads(line) for line in (tmp_path / file).read_text().splitlines()],
    }.get(name, lambda: json.loads((tmp_path / file).read_text()))()
    expected = [
        {"text": text.fields["text"], "hint": None, META: text.about()}
        if name in ("parquet", "jsonl")
        else {"id": text.row.record, "fields": dict(text.fields), "metadata": _said(text)}
        if name == "argilla"
        else {"data": dict(text.fields), "meta": _said(text)}
        for text in texts
    ]
    assert said == expected


def _said(text: Text) -> dict[str, str]:
    row = text.row
    return {"record": row.record, "contributor": row.contributor, "licence": row.licence, "source": text.source}


def test_an_empty_list_is_one_too(tmp_path):
    for name in ("argilla", "label-studio"):
        with files.FORMATS[name][1](tmp_path / name, []) as add:
            add([])
        assert json.loads((tmp_path / name).read_text()) == []
