"""Leaving contributors out of a published revision: what is known of what that changes, and the run that does it.

A replacement is the revision's own run taken again, same initialisation and batch order, with their records at weight 0
(`services.factory.replay`).  Weights cannot be asked to forget, so nothing here changes what is published.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from openledger import canonical, manifest
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.manifest import LineageManifest
from services.factory import audit, counterfactual_plan, effects
from services.factory.audit import Audit, Rise
from services.factory.effects import Effects
from services.factory.licence import Use
from services.factory.model import FineTune, Revision
from services.factory.replay import Replay, ReplayError
from services.factory.run import Replacement, Run, SnapshotPin
from services.factory.run_shard import shard
from services.factory.spec import FineTuneSpec
from services.factory.write import TRAINING
from services.kit.errors import Fault, invalid, not_found, precondition
from services.kit.executor import Done, Shard

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Counterfactual:
    """The adapter without a contributor that the audit had made."""

    work: str
    """Its shard's name."""
    sha256: str
    """Of its weights' file; empty where whoever made it did not say."""


@dataclass(frozen=True)
class Known:
    """What is known of a contributor in a revision.  Losses in nats per token."""

    revision: str
    contributor: str
    records: int
    train_records: int
    erased_records: int
    """Of the revision's snapshots, whoever's."""
    held_out: int
    predicted_rise: float | None
    measured_rise: Rise | None
    counterfactual: Counterfactual | None
    instead: str = ""
    """Of a combination: what to do, since it has no run of its own."""


def replacement(revision: Revision, without: Collection[str], audited: bool) -> Run:
    """The run that replaces a revision.  Raises `Fault` CANNOT_REPLACE."""
    lineage = manifest.parse(revision.manifest)
    if lineage.combines:
        raise cannot(revision.name, f"it was not trained: {_instead(lineage)}")
    if TRAINING not in lineage.files:
        raise cannot(revision.name, "it was made before training.json was kept, so nobody knows its batches any more")
    spec = FineTuneSpec.from_json(dict(lineage.spec))
    return Run(
        adapter=lineage.adapter,
        snapshots=snapshots(revision),
        spec=spec if audited else _bare(spec),
        use=Use(lineage.use or Use.COMMERCIAL),
        base_sha256=lineage.base.sha256,
        replaces=Replacement(revision.name, lineage.files[TRAINING], tuple(without)),
    )


def check(run: Run, revision: Revision | None, artifacts: ArtifactStore) -> tuple[Replay, bytes]:
    """That a run is what it says, its revision's own taken again; with the steps, and `training.json` that has them.

    Raises `Fault`: REVISION_NOT_FOUND, CANNOT_REPLACE.
    """
    assert run.replaces is not None
    if revision is None:
        raise not_found("REVISION_NOT_FOUND", f"there is no published {run.replaces.revision}")
    own = replacement(revision, run.replaces.without, audited=True)
    if replace(own, spec=_bare(own.spec)) != replace(run, spec=_bare(run.spec)):
        raise cannot(
            revision.name,
            "the run file differs from its run in more than trainings again: what is changed replaces nothing, leave "
            "replaces out",
        )
    try:
        training = artifacts.get(run.replaces.training)
        return Replay.of(training, run.replaces.without), training
    except (ArtifactError, ReplayError) as error:
        raise cannot(revision.name, str(error)) from error


def snapshots(revision: Revision) -> tuple[SnapshotPin, ...]:
    """Those that a revision was made from."""
    lineage = manifest.from_json(canonical.parse_json(revision.manifest))  # our own: its signature was made here
    return tuple(SnapshotPin(snapshot.name, snapshot.root) for snapshot in lineage.snapshots)


def cannot(revision: str, why: str) -> Fault:
    """Why there is no replacement of that kind."""
    return precondition("CANNOT_REPLACE", f"{revision} cannot be replaced so: {why}", revision=revision)


async def known(
    revision: Revision,
    job: FineTune | None,
    contributor: str,
    artifacts: ArtifactStore,
    find: Callable[[Shard], Awaitable[Done | None]],
    erased_records: int,
) -> Known:
    """Raises `Fault` NOT_TRAINED_ON.  job: the revision's fine-tune, if it has one; find: what workers have made."""
    lineage = manifest.parse(revision.manifest)
    records = lineage.contributors.get(contributor)
    if records is None:
        raise invalid(
            "NOT_TRAINED_ON", f"{revision.name} was not trained on records of accounts/{contributor}", "contributor"
        )
    foretold = _effects(lineage, artifacts)
    return Known(
        revision=revision.name,
        contributor=contributor,
        records=records,
        train_records=sum(lineage.contributors.values()),
        erased_records=erased_records,
        held_out=foretold.held_out if foretold else 0,
        predicted_rise=foretold.rises.get(contributor) if foretold else None,
        measured_rise=_measured(lineage, contributor, artifacts),
        counterfactual=None if job is None else await _stored(lineage, job, contributor, find),
        instead=_instead(lineage) if lineage.combines else "",
    )


def words(found: Known, replacements: Sequence[tuple[FineTune, Revision | None]]) -> list[str]:
    """The same for people."""
    who, share = f"accounts/{found.contributor}", found.records / found.train_records
    said = [f"{found.revision} was trained on {found.records} records of {who}, {share:.1%} of all."]
    if found.instead:
        return [*said, f"It is a combination: {found.instead}."]
    if found.predicted_rise is None:
        said.append("What leaving it out would do to the held-out loss was not computed for this revision.")
    else:
        said.append(
            f"Without it the mean loss of {found.held_out} held-out records would change by "
            f"{found.predicted_rise:+.4f} nats a token, as the contribution index foretells it."
        )
    if found.measured_rise is not None:
        rise = found.measured_rise
        said.append(f"Trained again without it, it changed by {rise.mean:+.4f} (standard error {rise.error:.4f}).")
    else:
        said.append("It was not trained again without it: the fine-tune did not ask for leave_one_out.")
    if found.counterfactual is not None:
        said.append("The adapter without it that the audit made is stored; a replacement comes to the same weights.")
    if found.erased_records:
        said.append(f"{found.erased_records} records of its snapshots are erased.")
    published = [made for _, made in replacements if made is not None]
    said.append(f"{len(published)} replacements are published." if published else "No replacement is published yet.")
    return said


def _instead(lineage: LineageManifest) -> str:
    """How somebody is left out of a combination."""
    named = ", ".join(parent.revision for parent in lineage.combines)
    return f"replace the revisions that it combines ({named}), and combine what replaces them"


def _bare(spec: FineTuneSpec) -> FineTuneSpec:
    """Without trainings again, which change no adapter."""
    return replace(spec, halves=0, leave_one_out=False)


def _effects(lineage: LineageManifest, artifacts: ArtifactStore) -> Effects | None:
    digest = lineage.files.get(effects.FILE)
    return None if digest is None else Effects.from_bytes(artifacts.get(digest))


def _measured(lineage: LineageManifest, contributor: str, artifacts: ArtifactStore) -> Rise | None:
    digest = lineage.files.get(audit.FILE)
    if digest is None:
        return None
    judged = Audit.from_bytes(artifacts.get(digest))
    rises: Mapping[str, Rise] = dict(zip(judged.contributors, judged.rises, strict=False))
    return rises.get(contributor)


async def _stored(
    lineage: LineageManifest,
    job: FineTune,
    contributor: str,
    find: Callable[[Shard], Awaitable[Done | None]],
) -> Counterfactual | None:
    again = counterfactual_plan.training_without(shard(job), [contributor], int(lineage.metrics["steps"]))
    done = await find(again)
    return None if done is None else Counterfactual(again.digest(), done.result.get("adapter_sha256", ""))
