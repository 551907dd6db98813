"""Say whether a run can be done at all, before anybody waits for it, and pin it to what is there now.

Looks at the run, the base model, what the Datanet says of the snapshots, and everybody's licences; reads no record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from openledger import base_models
from openledger.base_models import BaseModel, BaseModelUnavailable
from services.factory.data import field_names
from services.factory.licence import LicenceRefused, Outcome, Source, Use, combine
from services.factory.licence_terms import Terms
from services.factory.run import Run, SnapshotPin
from services.factory.shown import listed, shown
from services.factory.source import SnapshotInfo, SnapshotSource, SourceUnavailable, no_snapshot
from services.factory.spec import SpecError, unsupported
from services.kit.errors import Fault, invalid, precondition, unavailable


@dataclass(frozen=True)
class Admitted:
    """A run that can be done, pinned, with the licence that its adapter will have."""

    run: Run
    snapshots: tuple[SnapshotInfo, ...]
    """In the run's order."""
    outcome: Outcome


@dataclass(frozen=True)
class Admission:
    """What runs are measured against: snapshots, the base models that are offered here, and the operator's licences."""

    source: SnapshotSource
    bases: Collection[str]
    licences: Mapping[str, Terms]

    async def admit(self, run: Run, account: str) -> Admitted:
        """account: lower-case address of who asks for the run.

        Raises `Fault`: what is wrong with the run, the base, a snapshot or a licence, and what to do about it.
        """
        if reason := unsupported(run.spec):
            raise invalid("UNSUPPORTED", reason, f"spec.{reason.partition(':')[0].partition(',')[0]}")
        base = await asyncio.to_thread(self.base, run)
        infos = await asyncio.gather(*(self._describe(pin, account) for pin in run.snapshots))
        for about in infos:
            _check_template("prompt_template", run.spec.prompt_template, about)
            _check_template("completion_template", run.spec.completion_template, about)
        outcome = self.licence(run.use, base, infos)
        pins = tuple(SnapshotPin(about.name, about.root) for about in infos)
        return Admitted(replace(run, snapshots=pins, base_sha256=base.sha256), tuple(infos), outcome)

    def licence(self, use: Use, base: BaseModel, infos: Iterable[SnapshotInfo]) -> Outcome:
        """The gate.  Raises `Fault` with the gate's reason, and the records by licence."""
        sources = [Source(f"baseModels/{base.name}", base.licence)]
        sources += [Source(about.name, about.licence, about.records, about.notice) for about in infos]
        try:
            return combine(sources, use, self.licences)
        except LicenceRefused as refusal:
            counted = {licence: str(records) for licence, records in refusal.counts.items()}
            raise precondition(refusal.reason, str(refusal), **counted) from refusal

    async def license_now(self, run: Run) -> Outcome:
        """The gate alone, for a run that was admitted before there was one.  Raises `Fault`."""
        infos = await asyncio.gather(*(self._describe(pin, None) for pin in run.snapshots))
        return self.licence(run.use, await asyncio.to_thread(self.base, run), infos)

    def base(self, run: Run) -> BaseModel:
        """The run's base model, if it is offered here and is what the run was made for.  Raises `Fault`."""
        name = run.spec.base
        if name not in self.bases:
            known = ", ".join(self.bases)
            raise invalid("UNKNOWN_BASE", f"there is no base model {shown(name)} here; there is: {known}", "spec.base")
        try:
            model = base_models.registry().get(name)
            base_models.check(name)
        except (BaseModelUnavailable, OSError) as error:
            raise precondition("BASE_UNAVAILABLE", f"the base model {name} is not installed here: {error}") from error
        if model is None:
            raise precondition(
                "LICENCE_UNKNOWN",
                f"the base model {name} is a folder whose licence nobody has said: an operator enters it into the "
                f"registry of base models ({base_models.REGISTRY_FILE})",
            )
        if run.base_sha256 not in ("", model.sha256):
            raise precondition(
                "BASE_CHANGED",
                f"the run was made for a base model {name} with SHA-256 {run.base_sha256}; here it has {model.sha256}",
            )
        return model

    async def _describe(self, pin: SnapshotPin, account: str | None) -> SnapshotInfo:
        try:
            about = await self.source.describe(pin.name)
        except SourceUnavailable as error:
            raise unavailable("DATANET_UNAVAILABLE", f"{pin.name} cannot be looked up: {error}", 5) from error
        if account is not None and about.private_to not in ("", account):
            raise no_snapshot(pin.name)
        _check_snapshot(about, pin)
        return about


def _check_snapshot(about: SnapshotInfo, pin: SnapshotPin) -> None:
    if not about.anchored:
        raise precondition(
            "SNAPSHOT_NOT_ANCHORED",
            f"the root of {about.name} is not on chain yet, so nobody could check what the model was trained on; "
            "wait until the Datanet has anchored it",
            snapshot=about.name,
        )
    if about.records == 0:
        raise precondition("EMPTY_SNAPSHOT", f"{about.name} has no records; name another snapshot", snapshot=about.name)
    if pin.root not in ("", about.root):
        raise precondition(
            "SNAPSHOT_CHANGED",
            f"the run is for {about.name} with the root {pin.root}; the Datanet says that its root is {about.root}",
            snapshot=about.name,
        )


def _check_template(field: str, template: str, about: SnapshotInfo) -> None:
    try:
        named = field_names(template)
    except SpecError as error:
        raise _bad_template(field, str(error)) from error
    unknown = sorted(set(named) - about.fields)
    if unknown:
        raise invalid(
            "UNKNOWN_FIELD",
            f"the records of {about.name} have no field {listed(unknown)}; "
            f"they have: {', '.join(sorted(about.fields))}",
            f"spec.{field}",
        )
    if not named:
        raise _bad_template(field, f"the template {shown(template)} names no field of a record")


def _bad_template(field: str, why: str) -> Fault:
    return invalid("BAD_TEMPLATE", why, f"spec.{field}")
