"""What every worker of a fine-tune begins with: verified records as tokens, and the base model that was agreed on.

Named by digests in a shard's arguments; where the records lie is said by the environment.  The same arguments give the
same examples in the same order.  This module trains nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from openledger import base_models
from openledger.artifacts import ArtifactStore
from openledger.base_model_shape import BaseModelShape
from openledger.cache import cache_folder
from services.factory.data import Example, Tokenised, load_tokenizer, split, tokenise
from services.factory.evaluation import canaries
from services.factory.lines import FOLDER, parse
from services.factory.progress import Progress
from services.factory.replay import Replay
from services.factory.schedule import Plan
from services.factory.spec import FineTuneSpec
from services.kit.executor import Report

os.environ.setdefault("MPLCONFIGDIR", str(cache_folder("matplotlib")))  # looked for when matplotlib is imported
PRELOAD = ("transformers.models.llama.modeling_llama", "matplotlib.backends.backend_agg")
"""What tasks import when they come to it: a fork server imports it once (`services.kit.executor_forkserver`)."""


class NothingToTrainOn(ValueError):
    """Not one record of the snapshot can be used."""


class BaseChanged(ValueError):
    """The base model's weights are not those that the fine-tune was created for."""


class DiskFull(OSError):
    """There is no room for the worker's files."""


@dataclass(frozen=True)
class Inputs:
    """Of one fine-tune."""

    spec: FineTuneSpec
    base: Path
    tokenizer: Any
    records: int
    """Before any was left out."""
    tokenised: Tokenised
    planted: tuple[canaries.Canary, ...]
    replay: Replay | None = None
    """The run that this one takes again without somebody, if it does."""

    @property
    def canaries(self) -> list[Example]:
        """The planted secrets, to train on."""
        return [canary.example for canary in self.planted]

    def split(self) -> tuple[list[Example], list[Example]]:
        """Training examples, canaries last, and held-out ones: as `services.factory.train` takes them.

        Raises RecordsMissing where a run is taken again and a record of it is not there any more.
        """
        if self.replay is not None:
            return self.replay.split([*self.tokenised.examples, *self.canaries])
        training, held_out = split(self.tokenised.examples, self.spec.held_out, self.spec.seed)
        return training + self.canaries, held_out

    def plan(self, training: Sequence[Example]) -> Plan:
        """The steps on these training examples."""
        return Plan.of(self.spec, len(training)) if self.replay is None else self.replay.plan


def load(arguments: dict[str, Any], report: Report = lambda _: None) -> Inputs:
    """Find it all, and set the number of threads.  arguments: see `services.factory.run_shard.shard`.

    Raises NothingToTrainOn, BaseChanged, SpecError, ReplayError, and what the stores of records and base models raise.
    """
    torch.set_num_threads(arguments["threads"])
    spec, kept = FineTuneSpec.from_json(arguments["spec"]), ArtifactStore(Path(os.environ[FOLDER]))
    replay = None
    if again := arguments.get("replay"):
        replay = Replay.of(kept.get(again["training"]), again["without"])
        spec = replace(spec, patience=0)  # it ends where that run's adapter was taken
    records = parse(kept.get(arguments["records"]))
    base = _base(arguments.get("base", spec.base), arguments["base_sha256"], report)
    tokenizer = load_tokenizer(base)
    tokenised = tokenise(records, spec, tokenizer, BaseModelShape.read(base).context)
    if not tokenised.examples:
        first = tokenised.refused[0]
        raise NothingToTrainOn(f"none of the {len(records)} records can be used; {first.record}: {first.reason}")
    planted = canaries.make(spec.canaries, spec.seed, tokenizer)
    return Inputs(spec, base, tokenizer, len(records), tokenised, planted, replay)


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """While files are written to a folder: a full disk is raised as DiskFull, whichever library runs into it."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise DiskFull(f"no room is left for the files of this fine-tune in {folder}") from error
        raise


def _base(name: str, expected: str, report: Report) -> Path:
    """The base model's folder, made on first use."""
    report(asdict(Progress("base", 0, 0)))
    folder = base_models.locate(name)
    found = base_models.sha256(name)
    if found != expected:
        raise BaseChanged(f"the base model {name} has SHA-256 {found}, the fine-tune was created for {expected}")
    return folder


def is_disk_full(error: Exception) -> bool:
    """Also for libraries that write in another language and tell of it in words alone."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in numbers or any(f"os error {number})" in str(error) for number in numbers)
