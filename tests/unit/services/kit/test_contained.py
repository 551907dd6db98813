"""What a worker may and may not, and who hears of it when one is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.kit import contained, contained_worker
from services.kit.contained import NoWorker, TaskRaised, TooSlow, WorkerDied, Workers

TASKS = "tests.contained_tasks"


@asynccontextmanager
async def workers(**bounds):
    pool = Workers(TASKS, **{"at_once": 1, "memory": 2**29, **bounds})
    try:
        yield lambda function, payload=b"", seconds=20.0, file=None: pool.call(
            f"{TASKS}:{function}", payload, seconds, file
        )
    finally:
        await pool.close()


async def test_a_worker_answers_and_lives_on():
    async with workers() as call:
        first = await call("who")
        assert await call("reversed_", b"abc" * 10**6) == b"cba" * 10**6
        assert await call("who") == first
        assert int(first) != os.getpid()


async def test_an_open_file_goes_along_and_stays_open_here():
    handle = os.memfd_create("sent")
    os.write(handle, b"content")
    async with workers() as call:
        for _ in range(100):  # more than a worker may have open
            assert await call("of_file", b"its ", file=handle) == b"its content"
    os.close(handle)


async def test_of_a_crash_that_job_alone_hears():
    async with workers(at_once=2) as call:
        jobs = [
            call("reversed_", b"ab"),
            call("crash"),
            call("reversed_", b"cd"),
            call("crash"),
            call("reversed_", b"ef"),
        ]
        told = await asyncio.gather(*jobs, return_exceptions=True)
    assert [told[0], told[2], told[4]] == [b"ba", b"dc", b"fe"]
    assert all(isinstance(told[i], WorkerDied) and "SIGSEGV" in str(told[i]) for i in (1, 3))


async def test_what_takes_too_long_is_ended_and_the_next_job_is_done(monkeypatch):
    monkeypatch.setattr(contained, "BUSY", 0.01)  # this machine may be
    async with workers() as call:
        before = await call("who")
        with pytest.raises(TooSlow, match=r"longer than 0\.2 s"):
            await call("spin", seconds=0.2)
        assert await call("who") != before
        with pytest.raises(ProcessLookupError):
            os.kill(int(before), 0)


async def test_where_the_machine_leaves_it_no_time_no_job_is_at_fault():
    async with workers() as call:
        before = await call("who")
        with pytest.raises(NoWorker, match=r"of 0\.2 s, this machine left 0\.\d s to it"):
            await call("sleep", seconds=0.2)
        assert await call("who") != before


async def test_where_the_machine_kills_it_no_job_is_at_fault():
    async with workers() as call:
        victim = int(await call("who"))
        job = asyncio.create_task(call("sleep"))
        await asyncio.sleep(0.1)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(NoWorker, match="this machine killed it"):
            await job
        assert await call("reversed_", b"ab") == b"ba"


async def test_a_worker_that_hangs_up_and_lives_on_is_ended_and_has_failed_its_job():
    async with workers() as call:
        pid = int(await call("who"))
        with pytest.raises(WorkerDied):
            await call("hang_up")
        assert state(pid) in {"gone", "Z"}


async def test_what_a_task_raises_is_told_and_its_process_is_not_used_again():
    async with workers() as call:
        before = await call("who")
        with pytest.raises(TaskRaised) as caught:
            await call("refuse", b"no such place")
        assert (caught.value.kind, caught.value.message) == ("LookupError", "no such place")
        assert await call("who") != before


async def test_a_worker_that_wants_too_much_memory_is_refused_it():
    async with workers() as call:
        with pytest.raises(TaskRaised) as caught:
            await call("swell")
        assert caught.value.kind == "MemoryError"


async def test_an_answer_that_is_too_long_is_not_taken():
    async with workers(answer=2**15) as call:
        with pytest.raises(TaskRaised, match="AnswerTooLong"):
            await call("lengthen")
        assert await call("reversed_", b"ab") == b"ba"


async def test_a_worker_is_replaced_after_its_jobs():
    async with workers(jobs=2) as call:
        pids = [await call("who") for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_a_worker_that_was_killed_while_idle_costs_no_job():
    async with workers() as call:
        os.kill(int(await call("who")), signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert await call("reversed_", b"ab") == b"ba"


async def given_up(job, seconds: float) -> None:
    task = asyncio.create_task(job)
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_job_that_is_given_up_costs_no_worker_that_lives_on():
    async with workers() as call:
        first = await call("who")
        for _ in range(3):
            await given_up(call("nap"), 0.05)
        assert await call("who") == first


async def test_nor_does_one_that_is_given_up_before_its_worker_is_there():
    async with workers() as call:
        await given_up(call("who"), 0)
        first = await call("who")
        assert first == await call("who")


async def test_a_job_that_is_given_up_while_it_waits_is_not_done():
    async with workers() as call:
        await call("who")
        napping = asyncio.create_task(call("nap"))
        await given_up(call("sleep"), 0.05)
        assert await napping == b"slept"
        assert await call("reversed_", b"ab", seconds=5) == b"ba"


async def test_a_job_that_is_given_up_takes_as_long_as_it_may_and_no_longer():
    async with workers() as call:
        pid = int(await call("who"))
        await given_up(call("sleep", seconds=0.5), 0.2)
        os.kill(pid, 0)
        assert await call("reversed_", b"ab") == b"ba"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_job_that_is_given_up_takes_its_worker_with_it_where_that_does_no_other():
    before = set(children())
    async with workers(jobs=1) as call:
        task = asyncio.create_task(call("sleep"))
        while not (mine := set(children()) - before):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert mine.isdisjoint(children())


async def test_closing_ends_what_a_job_that_was_given_up_is_at():
    async with workers() as call:
        pid = int(await call("who"))
        await given_up(call("sleep"), 0.1)
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def children() -> list[int]:
    """Processes that this one has started, and not waited for."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


async def test_no_file_but_the_programs_own_is_read_and_none_is_written_or_removed(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    async with workers() as call:
        for function in ("read", "write", "remove"):
            with pytest.raises(TaskRaised, match="PermissionError"):
                await call(function, str(secret).encode())
        with pytest.raises(TaskRaised, match="PermissionError"):
            await call("write", str(tmp_path / "new").encode())
        assert b"contained_worker" in await call("read", contained_worker.__file__.encode())
    assert secret.read_text() == "key"
    assert not (tmp_path / "new").exists()


async def test_there_is_no_network_and_nothing_else_to_do_harm_with():
    async with workers() as call:
        with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TaskRaised, match="PermissionError"):
            await call("connect", str(server.getsockname()[1]).encode())
        with pytest.raises(TaskRaised, match="PermissionError"):
            await call("signal", str(os.getpid()).encode())
        with pytest.raises(TaskRaised, match="PermissionError"):
            await call("run")


async def test_what_a_worker_starts_ends_with_it():
    async with workers() as call:
        started = await asyncio.gather(call("fork"), return_exceptions=True)
        if isinstance(started[0], TaskRaised):  # of root alone the kernel counts no processes
            assert started[0].kind == "BlockingIOError"
            return
    await asyncio.sleep(0.2)
    assert state(int(started[0])) in {"gone", "Z"}


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "gone"


async def test_nothing_of_the_services_environment_is_in_a_worker(monkeypatch):
    monkeypatch.setenv("OPENLEDGER_SECRET", "hidden")
    async with workers() as call:
        assert b"SECRET" not in await call("environment")


async def test_a_module_that_cannot_be_imported_is_told():
    pool = Workers("tests.no_such_tasks")
    with pytest.raises(NoWorker, match="did not start"):
        await pool.call("tests.no_such_tasks:work", b"", 1)
    with pytest.raises(ValueError, match="not os:system"):
        await pool.call("os:system", b"", 1)
