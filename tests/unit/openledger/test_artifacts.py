from __future__ import annotations

import os
import threading

import pytest

from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.canonical import sha256


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


def test_a_blob_is_found_under_its_digest(store):
    digest = store.put(b"hello")
    assert digest == sha256(b"hello")
    assert store.has(digest)
    assert store.get(digest) == b"hello"
    assert store.path(digest).read_bytes() == b"hello"


def test_a_damaged_blob_is_found_out(store):
    digest = store.put(b"hello")
    place = store.path(digest)
    place.chmod(0o644)
    place.write_bytes(b"hullo!")
    with pytest.raises(ArtifactError, match="damaged"):
        store.get(digest)
    with pytest.raises(ArtifactError, match="damaged"):
        store.path(digest)


@pytest.mark.parametrize("name", ("", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "/"))
def test_what_is_no_digest_is_no_path(store, name):
    with pytest.raises(ArtifactError, match="not the name"):
        store.get(name)


def test_a_missing_blob_is_said(store):
    with pytest.raises(ArtifactError, match="cannot be read"):
        store.get("0" * 64)


def test_a_blobs_size_is_told_without_reading_it(store):
    assert store.size(store.put(b"four")) == 4
    with pytest.raises(ArtifactError, match="cannot be read"):
        store.size("0" * 64)


def test_many_writers_of_one_blob_leave_one(store, tmp_path):
    data = b"x" * 100_000
    threads = [threading.Thread(target=store.put, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [sha256(data)]


@pytest.mark.parametrize("found", (b"hullo", b"", b"hell", b"hello, and more"))
@pytest.mark.parametrize("again", ("put", "put_file"))
def test_a_damaged_blob_is_healed_by_storing_it_again(store, tmp_path, found, again):
    digest = store.put(b"hello")
    place = store.path(digest)
    with place.open("rb") as reading:
        seen = place.stat()
        place.unlink()
        place.write_bytes(found)
        os.utime(place, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
        source = tmp_path / "source"
        source.write_bytes(b"hello")
        assert (store.put(b"hello") if again == "put" else store.put_file(source)) == digest
        assert store.get(digest) == store.path(digest).read_bytes() == b"hello"
        assert place.stat().st_mode & 0o777 == 0o444
        assert reading.read() == b"hello"
    assert not list(place.parent.glob(".new-*"))


def test_storing_a_blob_again_that_is_whole_writes_nothing(store):
    digest = store.put(b"hello")
    before = store.path(digest).stat()
    store.put(b"hello")
    after = store.path(digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_is_stored_by_copy(store, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"data")
    digest = store.put_file(source)
    source.write_bytes(b"changed")
    assert store.get(digest) == b"data"


def test_what_a_killed_writer_left_is_swept_and_nothing_else(store):
    whole = store.put(b"hello")
    left = store.path(whole).with_name(".new-abc")
    left.write_bytes(b"hel")
    store.sweep()
    assert not left.exists()
    assert store.get(whole) == b"hello"


def test_a_blobs_time_says_when_it_was_used(store):
    digest = store.put(b"hello")
    os.utime(store.path(digest), (0, 0))
    assert store.use(digest)
    assert store.path(digest).stat().st_mtime > 0
    assert not store.use(sha256(b"another"))
