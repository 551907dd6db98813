"""Between the Factory's values and the messages of its API.  Knows no rules: what is allowed is said elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from openledger import manifest, names
from openledger.factory.v1 import factory_pb2 as pb
from services.factory.estimate import Estimate
from services.factory.model import Event, FineTune, Metrics, Revision
from services.factory.spec import EVERY_TARGET, FineTuneSpec, SpecError
from services.kit.errors import invalid


def spec_from(message: pb.FineTuneSpec, precision: str) -> FineTuneSpec:
    """With every default filled in.  precision: the default that depends on the machine.  Raises `Fault` BAD_SPEC."""
    given = {field.name: value for field, value in message.ListFields() if field.name not in {"snapshots", "targets"}}
    if message.targets:
        given["targets"] = EVERY_TARGET if list(message.targets) == [EVERY_TARGET] else tuple(message.targets)
    try:
        return FineTuneSpec(**({"precision": precision} | given))
    except SpecError as error:
        raise invalid("BAD_SPEC", f"spec: {error}", f"spec.{str(error).partition(' ')[0]}") from error


def spec_to(spec: FineTuneSpec, snapshot: str) -> pb.FineTuneSpec:
    targets = [spec.targets] if isinstance(spec.targets, str) else spec.targets
    return pb.FineTuneSpec(snapshots=[snapshot], **(spec.to_json() | {"targets": targets}))


def fine_tune_to(job: FineTune) -> pb.FineTune:
    return pb.FineTune(
        name=job.name,
        owner=names.account(job.owner),
        adapter=f"adapters/{job.adapter}",
        spec=spec_to(job.spec, job.snapshot),
        state=pb.FineTuneState.Value(f"FINE_TUNE_STATE_{job.state}"),
        reason=job.reason,
        message=job.message,
        metrics=None if job.metrics is None else metrics_to(job.metrics),
        revision=job.revision,
        create_time=_time(job.create_time),
        end_time=None if job.end_time is None else _time(job.end_time),
    )


def metrics_to(metrics: Metrics) -> pb.FineTuneMetrics:
    return pb.FineTuneMetrics(**metrics.to_json())


def event_to(event: Event) -> pb.FineTuneEvent:
    return pb.FineTuneEvent(
        sequence=event.sequence,
        time=_time(event.time),
        state=pb.FineTuneState.Value(f"FINE_TUNE_STATE_{event.state}"),
        message=event.message,
        progress=None if event.progress is None else pb.TrainingProgress(**_known(vars(event.progress))),
    )


def estimate_to(estimate: Estimate, spec: FineTuneSpec, snapshot: str, licence: str) -> pb.FineTuneEstimate:
    return pb.FineTuneEstimate(spec=spec_to(spec, snapshot), licence=licence, **vars(estimate))


def revision_to(revision: Revision) -> pb.AdapterRevision:
    lineage = manifest.parse(revision.manifest)
    return pb.AdapterRevision(
        name=revision.name,
        owner=names.account(lineage.owner),
        base=lineage.base.name,
        base_sha256=lineage.base.sha256,
        index_root=lineage.index_root,
        files=lineage.files,
        snapshots=[snapshot.name for snapshot in lineage.snapshots],
        contributors=lineage.contributors,
        metrics=metrics_to(revision.metrics),
        create_time=_time(revision.create_time),
    )


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _time(value: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp
