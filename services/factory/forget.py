"""What workers kept for a fine-tune that has ended is taken away: nobody will want it, and some of it tells of texts.

Again does no harm, so that whoever was killed between the end and this does it at the next start.
"""

from __future__ import annotations

from collections.abc import Callable

from services.factory import follow, store, store_snapshots, trunk_task
from services.factory.lineage import PRIVATE_EVALUATION
from services.factory.model import FineTune, State
from services.factory.private_work import PrivateWork
from services.kit import logs
from services.kit.database import Database
from services.kit.executor import Executor, Shard


async def forget(database: Database, executor: Executor, private: PrivateWork, job: FineTune, run: Shard) -> None:
    """job: one that has ended; run: its own shard, whose result stays, for others may be made of it."""
    await executor.discard(run)
    if job.state is State.SUCCEEDED:
        return
    await private.drop(run)
    await follow.forget(executor, run, job.spec)
    if below := trunk_task.shard(run.arguments):
        await executor.remove(below)
    done, erased = (
        await executor.find(run),
        await database.read(lambda c: store_snapshots.erased_among(c, job.snapshots, job.id)),
    )
    if done is not None and erased is not None:
        # Of a worker that ended well before it could be stopped, but after the erasure had looked for this.
        (done.output / PRIVATE_EVALUATION).unlink(missing_ok=True)


async def forget_all(
    database: Database, executor: Executor, private: PrivateWork, run: Callable[[FineTune], Shard]
) -> None:
    """Of what ended when the last process did, but for what a fine-tune that has not ended goes on with."""
    await private.sweep()
    wanted = {run(job).digest() for job in await database.read(store.unfinished)}
    for job in await database.read(store.given_up):
        if run(job).digest() in wanted:
            continue
        try:
            await forget(database, executor, private, job, run(job))
        except OSError as error:  # one folder's trouble must not hold up all that wait
            logs.logger("factory").warning("what was left cannot be removed", fine_tune=job.name, error=str(error))
