"""Say whether a fine-tune can be done at all, before anybody waits for it.

Looks at the specification, the base model and what the Datanet says of the snapshot; reads no record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from openledger import base_models
from services.factory.data import field_names
from services.factory.source import SnapshotInfo, SnapshotSource, SourceUnavailable
from services.factory.spec import FineTuneSpec, SpecError
from services.kit.errors import invalid, precondition, unavailable


@dataclass(frozen=True)
class Admitted:
    """What a fine-tune is pinned to."""

    snapshot: SnapshotInfo
    base_sha256: str


async def admit(source: SnapshotSource, bases: Collection[str], spec: FineTuneSpec, snapshot: str) -> Admitted:
    """Raises `Fault`: what is wrong with the specification, the base or the snapshot, and what to do about it."""
    if spec.base not in bases:
        known = ", ".join(bases)
        raise invalid("UNKNOWN_BASE", f"there is no base model {spec.base!r} here; there is: {known}", "spec.base")
    try:
        base_sha256 = await asyncio.to_thread(base_models.sha256, spec.base)
    except (base_models.BaseModelUnavailable, OSError) as error:
        raise precondition("BASE_UNAVAILABLE", f"the base model {spec.base} is not installed here: {error}") from error
    try:
        about = await source.describe(snapshot)
    except SourceUnavailable as error:
        raise unavailable("DATANET_UNAVAILABLE", f"{snapshot} cannot be looked up: {error}", 5) from error
    _check_snapshot(about)
    _check_template("prompt_template", spec.prompt_template, about)
    _check_template("completion_template", spec.completion_template, about)
    return Admitted(about, base_sha256)


def _check_snapshot(about: SnapshotInfo) -> None:
    if not about.anchored:
        raise precondition(
            "SNAPSHOT_NOT_ANCHORED",
            f"the root of {about.name} is not on chain yet, so nobody could check what the model was trained on; "
            "wait until the Datanet has anchored it",
            snapshot=about.name,
        )
    if about.records == 0:
        raise precondition("EMPTY_SNAPSHOT", f"{about.name} has no records; name another snapshot", snapshot=about.name)


def _check_template(field: str, template: str, about: SnapshotInfo) -> None:
    try:
        named = field_names(template)
    except SpecError as error:
        raise invalid("BAD_TEMPLATE", str(error), f"spec.{field}") from error
    unknown = sorted(set(named) - about.fields)
    if unknown:
        raise invalid(
            "UNKNOWN_FIELD",
            f"the records of {about.name} have no field {', '.join(map(repr, unknown))}; "
            f"they have: {', '.join(sorted(about.fields))}",
            f"spec.{field}",
        )
    if not named:
        raise invalid("BAD_TEMPLATE", f"the template {template!r} names no field of a record", f"spec.{field}")
