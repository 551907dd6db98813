from __future__ import annotations

import os
import stat

import pytest

from services.kit.private_files import PrivateFiles

ONE, TWO, THREE = "1a" * 32, "2b" * 32, "3c" * 32
NAME = "span_index.safetensors"


@pytest.fixture
def kept(tmp_path):
    return PrivateFiles(tmp_path / "private")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_bytes(b"texts")
    return tmp_path / "source"


def test_a_file_is_kept_under_its_revision_and_putting_it_again_does_no_harm(kept, source):
    for _ in range(2):
        kept.put(ONE, NAME, source)
    assert kept.place(ONE, NAME).read_bytes() == b"texts"
    assert kept.revisions() == [ONE]
    assert not kept.place(TWO, NAME).exists()
    assert stat.S_IMODE(kept.place(ONE, NAME).parent.stat().st_mode) == 0o700, "nobody else looks into it"


def test_what_has_half_arrived_is_not_there(kept):
    kept.partial(ONE, NAME).write_bytes(b"te")
    assert not kept.place(ONE, NAME).exists()
    assert kept.revisions() == [ONE]
    kept.partial(ONE, NAME).write_bytes(b"texts")
    kept.finish(ONE, NAME)
    assert kept.place(ONE, NAME).read_bytes() == b"texts"
    assert not kept.partial(ONE, NAME).exists()


def test_what_is_removed_is_gone_with_its_rest(kept, source):
    kept.put(ONE, NAME, source)
    kept.put(TWO, NAME, source)
    kept.partial(ONE, "other").write_bytes(b"te")
    for _ in range(2):
        kept.remove(ONE)
    assert kept.revisions() == [TWO]
    kept.keep_only(set())
    assert kept.revisions() == []


def test_those_that_were_used_longest_ago_make_way(kept, source):
    for age, revision in enumerate((TWO, THREE, ONE)):
        kept.put(revision, NAME, source)
        os.utime(kept.place(revision, NAME).parent, (age, age))
    kept.make_room(5, 20, THREE)
    assert kept.revisions() == sorted((ONE, TWO, THREE)), "15 bytes and 5 more fit"
    kept.used(TWO)
    kept.make_room(6, 20, THREE)
    assert kept.revisions() == sorted((TWO, THREE)), "TWO was used since"
    kept.make_room(100, 20, THREE)
    assert kept.revisions() == [THREE]


@pytest.mark.parametrize(("revision", "name"), (("..", NAME), (ONE[:-1], NAME), (ONE + "\n", NAME), (ONE, "../x"),
                                                (ONE, ".hidden"), (ONE, ""), (ONE, "a/b")))  # fmt: skip
def test_no_name_leads_out_of_the_folder(kept, revision, name):
    for way in (kept.place, kept.partial):
        with pytest.raises(ValueError, match=r"is no plain file name|is not the digest"):
            way(revision, name)
    if revision != ONE:
        with pytest.raises(ValueError, match="is not the digest"):
            kept.remove(revision)


def test_what_is_beside_a_file_counts_whole_and_half_arrived(kept, source):
    kept.put(ONE, NAME, source)
    kept.put(TWO, NAME, source)
    kept.partial(ONE, "other").write_bytes(b"te")
    assert kept.beside(ONE, NAME) == 2
    assert kept.beside(ONE, "other") == 5
    assert kept.beside(THREE, NAME) == 0
    assert kept.revisions() == [ONE, TWO]
