"""What a fine-tune would take: which records it would use, whose they are, how many tokens, how long.

Counts are exact, made with the real tokenizer on the verified records; seconds are judged by the last run on that base.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from openledger import base_models
from openledger.artifacts import ArtifactStore
from services.factory import store
from services.factory.admit import Admitted
from services.factory.data import load_tokenizer, split, tokenise
from services.factory.lines import parse
from services.factory.model import JobFailed, Metrics
from services.factory.read import read_snapshot
from services.factory.source import SnapshotSource
from services.factory.spec import FineTuneSpec
from services.kit.database import Database
from services.kit.errors import precondition, unavailable

_PATIENCE = 20.0
ASSUMED_TOKENS_PER_SECOND, ASSUMED_START_SECONDS = 200.0, 15.0
"""Before any run on a base: SmolLM2-135M on two CPU cores, and the start of a worker."""


@dataclass(frozen=True)
class Estimate:
    """`records` are all of the snapshot's, `contributors` those whose records would be trained on."""

    records: int
    dropped: Mapping[str, int]
    contributors: Mapping[str, int]
    train_tokens: int
    seconds: float


async def estimate(
    database: Database, source: SnapshotSource, kept: ArtifactStore, spec: FineTuneSpec, admitted: Admitted
) -> Estimate:
    """Raises `Fault` when the snapshot cannot be read or is not what was frozen."""
    name, root = admitted.snapshot.name, admitted.snapshot.root
    digest = await database.read(lambda c: store.snapshot_records(c, name, root))
    if digest is None or not kept.has(digest):
        try:
            read = await read_snapshot(source, name, root, kept, _PATIENCE)
        except JobFailed as failure:
            if failure.reason == "DATANET_UNAVAILABLE":
                raise unavailable(failure.reason, failure.message, 5) from failure
            raise precondition(failure.reason, failure.message) from failure
        await database.write(lambda c: store.add_snapshot_records(c, name, root, read))
        digest = read
    last = await database.read(lambda c: store.last_metrics(c, spec.base))
    return await asyncio.to_thread(_count, kept.get(digest), spec, last)


def _count(data: bytes, spec: FineTuneSpec, last: Metrics | None) -> Estimate:
    records = parse(data)
    tokenised = tokenise(records, spec, _tokenizer(spec.base))
    training, _ = split(tokenised.examples, spec.held_out, spec.seed)
    tokens = sum(example.length for example in training) * spec.epochs
    return Estimate(
        records=len(records),
        dropped=Counter(refused.code for refused in tokenised.refused),
        contributors=Counter(example.contributor for example in training),
        train_tokens=tokens,
        seconds=seconds(tokens, last),
    )


def seconds(tokens: int, last: Metrics | None) -> float:
    """How long training on so many tokens takes, judged by the last run's whole time."""
    if last is None or last.train_tokens == 0 or last.seconds <= 0:
        return ASSUMED_START_SECONDS + tokens / ASSUMED_TOKENS_PER_SECOND
    return tokens * last.seconds / last.train_tokens


@cache
def _tokenizer(base: str) -> Any:
    return load_tokenizer(base_models.locate(base))
