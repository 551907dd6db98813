"""The folder of shards: what is found, what is held, what is swept away."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.kit.executor import WORKER_DIED, Done, NotFinished, Shard, TaskFailed
from services.kit.executor_folder import FolderExecutor, ShardFolder, find

SHARD = Shard("a:b", {"n": 1})
HOLDER = """
import sys
from pathlib import Path
from services.kit.executor import Shard
from services.kit.executor_folder import ShardFolder
with ShardFolder(Path(sys.argv[1]), Shard("a:b", {"n": 1})).held(wait=True) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return ShardFolder(tmp_path, SHARD)


@pytest.fixture
def holder(tmp_path):
    """Another process, which holds the shard until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def work(folder, **result):
    """What a worker does to a folder."""
    with folder.held(wait=True):
        folder.begin()
        (folder.output / "file").write_text("made")
        (folder.scratch / "checkpoint").write_text("kept")
        if result:
            folder.publish(result)


def test_what_is_published_is_found_whole(folder, tmp_path):
    assert folder.done() is None
    work(folder, sum=3)
    output = tmp_path / SHARD.digest()
    assert folder.done() == Done(output, {"sum": 3})
    assert find(tmp_path, SHARD.digest()) == output
    assert (output / "file").read_text() == "made"
    assert json.loads((output / "result.json").read_text()) == {"sum": 3}


@pytest.mark.parametrize("name", (SHARD.digest(), "a" * 64, "..", ".", "", "A" * 64, "a" * 64 + "\n"))
def test_what_is_not_published_is_not_found(tmp_path, name):
    root = tmp_path / "outputs"
    work(ShardFolder(root, SHARD))
    for place in (tmp_path, root, root / ("A" * 64)):
        place.mkdir(exist_ok=True)
        (place / "result.json").write_text("{}")
    with pytest.raises(NotFinished):
        find(root, name)


def test_the_next_attempt_finds_scratch_and_an_empty_output(folder):
    work(folder)
    with folder.held(wait=True):
        folder.begin()
        assert list(folder.output.iterdir()) == []
        assert (folder.scratch / "checkpoint").read_text() == "kept"


def test_a_result_is_not_taken_away_from_under_whoever_holds_the_shard(folder, holder, tmp_path):
    (tmp_path / SHARD.digest()).mkdir()
    (tmp_path / SHARD.digest() / "result.json").write_text("{}")
    folder.remove()
    assert folder.done() is not None
    holder.stdin.close()
    holder.wait(30)
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_sweeping_keeps_scratch_where_there_is_some(folder):
    work(folder)
    (folder.unfinished / "reports-1").touch()
    folder.sweep(keep_scratch=True)
    assert sorted(path.name for path in folder.unfinished.iterdir()) == ["lock", "scratch"]
    (folder.scratch / "checkpoint").unlink()
    folder.sweep(keep_scratch=True)
    assert not folder.unfinished.exists()


def test_sweeping_without_scratch_leaves_what_is_published(folder):
    work(folder, sum=3)
    folder.sweep(keep_scratch=False)
    assert not folder.unfinished.exists()
    assert folder.done() is not None
    folder.sweep(keep_scratch=False)


def test_what_another_process_works_on_is_not_swept_away(folder, holder):
    folder.begin()
    folder.sweep(keep_scratch=False)
    assert folder.output.exists()
    with folder.held(wait=False) as held:
        assert not held
    holder.kill()
    holder.wait()
    with folder.held(wait=False) as held:
        assert held


def has_open(pid, file):
    with contextlib.suppress(FileNotFoundError):
        return any(handle.readlink() == file for handle in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_two_of_one_process_sweep_a_folder_one_after_the_other(folder):
    for _ in range(20):
        work(folder)
        with ThreadPoolExecutor(4) as several:
            for swept in [several.submit(folder.sweep, keep_scratch=False) for _ in range(4)]:
                swept.result()
        assert not folder.unfinished.exists()


def test_who_waited_for_a_shard_that_was_swept_away_holds_the_new_one(folder, tmp_path, holder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdin is not None
        assert waiting.stdout is not None
        lock = folder.unfinished / "lock"
        while not has_open(waiting.pid, lock):
            time.sleep(0.01)
        lock.unlink()  # as the last act of a sweep
        holder.stdin.close()
        assert waiting.stdout.readline() == "True\n"
        with folder.held(wait=False) as held:
            assert not held
        waiting.kill()


class Late(FolderExecutor):
    """Its workers do their work, and die of leaving."""

    async def _attempt(self, shard, folder, report):
        work(folder, sum=3)
        raise TaskFailed(WORKER_DIED, "killed by signal 11")


async def test_what_was_finished_is_done_however_its_worker_ended(folder, tmp_path):
    assert await Late(tmp_path).run(SHARD, print) == Done(tmp_path / SHARD.digest(), {"sum": 3})
    assert not folder.unfinished.exists()


async def test_what_nobody_used_for_so_long_goes_but_for_what_is_kept_or_held(tmp_path, holder):
    finished = [ShardFolder(tmp_path, Shard("a:b", {"n": n})) for n in (2, 3, 4)]
    for folder in finished:
        work(folder, sum=3)
    half_done = ShardFolder(tmp_path, Shard("a:b", {"n": 5}))
    work(half_done)
    (tmp_path / "somebody's").mkdir()
    for path in (*tmp_path.iterdir(), *tmp_path.glob(".*/*")):
        os.utime(path, (1000, 1000))
    assert finished[0].done() is not None, "which counts as used now"
    await Late(tmp_path).expire(2000, {Shard("a:b", {"n": 3}).digest()})
    assert [folder.done() is not None for folder in finished] == [True, True, False]
    assert not half_done.unfinished.exists()
    assert ShardFolder(tmp_path, SHARD).unfinished.exists(), "it is being worked on"
    assert (tmp_path / "somebody's").exists()
