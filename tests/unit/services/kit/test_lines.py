from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

from services.kit import lines


def test_what_is_added_is_read_and_nobody_else_can(tmp_path):
    path = tmp_path / "folder" / "list"
    assert lines.read(path) == []
    lines.add(path, [])
    assert not path.exists()
    lines.add(path, ["one", "two"])
    lines.add(path, ["three"])
    assert lines.read(path) == ["one", "two", "three"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_stays_by_itself(tmp_path):
    (tmp_path / "list").write_text("one\ntw")
    lines.add(tmp_path / "list", ["two"])
    assert lines.read(tmp_path / "list") == ["one", "tw", "two"]


def test_many_that_add_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: lines.add(tmp_path / "list", [f"{n} {'x' * 100}"]), range(200)))
    assert sorted(lines.read(tmp_path / "list")) == sorted(f"{n} {'x' * 100}" for n in range(200))
