"""Which files are meant."""

from __future__ import annotations

import pytest

from openledger.cli import uploads


def test_folders_are_searched_hidden_files_left_out_and_each_file_is_taken_once(tmp_path):
    for name in ("b.txt", "a.txt", ".c.txt", "in/d.txt", ".in/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = uploads.found([tmp_path / "b.txt", tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b.txt", "a.txt", "in/d.txt"]
    assert len(uploads.found([tmp_path / "in", tmp_path / "in" / ".." / "in" / "d.txt"])) == 1
    assert uploads.found([tmp_path / ".c.txt"]) == [tmp_path / ".c.txt"]
    with pytest.raises(ValueError, match="no file"):
        uploads.found([tmp_path, tmp_path / "none"])
