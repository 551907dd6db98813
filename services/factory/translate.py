"""Between the Factory's values and the messages of its API.  Knows no rules: what is allowed is said elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from openledger import canonical, manifest, names
from openledger.base_model_sources import HubModel, LocalFolder
from openledger.base_models import BaseModel
from openledger.factory.v1 import factory_pb2 as pb
from services.factory.admit import Admitted
from services.factory.compare import Comparison
from services.factory.estimate import Estimate, Tariff
from services.factory.licence import Attribution
from services.factory.model import Checkpoint, Event, FineTune, Metrics, Revision, State
from services.factory.run import Replacement, SnapshotPin
from services.factory.translate_run import spec_to, use_to

STATUS = {
    State.QUEUED: "queued",
    State.READING: "validating_files",
    State.TRAINING: "running",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}
"""OpenAI's words (docs/fine-tuning.md)."""
_LEVELS = {State.FAILED: "error", State.CANCELLED: "warn"}


def fine_tune_to(job: FineTune) -> pb.FineTune:
    return pb.FineTune(
        name=job.name,
        owner=names.account(job.owner),
        adapter=f"adapters/{job.adapter}",
        spec=spec_to(job.run),
        state=state_to(job.state),
        replaces=_replaces_to(job.replaces),
        status=STATUS[job.state],
        reason=job.reason,
        message=job.message,
        metrics=None if job.metrics is None else metrics_to(job.metrics),
        revision=job.revision,
        snapshot_pins=pins_to(job.snapshots),
        base_sha256=job.base_sha256,
        licence=job.licence,
        attributions=attributions_to(job.attributions),
        clone_of=job.clone_of,
        trained_tokens=job.trained_tokens,
        threads=job.threads,
        create_time=_time(job.create_time),
        start_time=_maybe_time(job.start_time),
        estimated_finish=_maybe_time(job.estimated_finish),
        end_time=_maybe_time(job.end_time),
    )


def state_to(state: State) -> pb.FineTuneState.ValueType:
    return pb.FineTuneState.Value(f"FINE_TUNE_STATE_{state}")


def _replaces_to(replaces: Replacement | manifest.Replaces | None) -> pb.Replacement | None:
    if replaces is None:
        return None
    return pb.Replacement(revision=replaces.revision, without=map(names.account, replaces.without))


def metrics_to(metrics: Metrics) -> pb.FineTuneMetrics:
    return pb.FineTuneMetrics(**_known(metrics.to_json()))


def pins_to(pins: Iterable[SnapshotPin]) -> list[pb.SnapshotPin]:
    return [pb.SnapshotPin(name=pin.name, root=pin.root) for pin in pins]


def attributions_to(dues: Iterable[Attribution | manifest.Attribution]) -> list[pb.Attribution]:
    return [pb.Attribution(**vars(due)) for due in dues]


def event_to(event: Event) -> pb.FineTuneEvent:
    measured = event.progress is not None and (event.progress.loss, event.progress.valid_loss) != (None, None)
    return pb.FineTuneEvent(
        sequence=event.sequence,
        time=_time(event.time),
        state=state_to(event.state),
        message=event.message,
        progress=None if event.progress is None else _progress_to(vars(event.progress)),
        type="metrics" if measured else "message",
        level=_LEVELS.get(event.state, "info"),
    )


def _progress_to(values: Mapping[str, Any]) -> pb.TrainingProgress:
    known = _known(values)
    tokens = known.pop("tokens", 0)
    return pb.TrainingProgress(trained_tokens=tokens, **known)


def checkpoint_to(job: FineTune, checkpoint: Checkpoint) -> pb.FineTuneCheckpoint:
    measured = {
        "train_loss": checkpoint.train_loss,
        "valid_loss": checkpoint.valid_loss,
        "valid_mean_token_accuracy": checkpoint.valid_mean_token_accuracy,
    }
    return pb.FineTuneCheckpoint(
        name=f"{job.name}/checkpoints/{checkpoint.step}",
        step_number=checkpoint.step,
        create_time=_time(checkpoint.time),
        metrics=pb.CheckpointMetrics(**_known(measured)),
        trained_tokens=checkpoint.trained_tokens or 0,
    )


def estimate_to(estimate: Estimate, admitted: Admitted, tariff: Tariff) -> pb.FineTuneEstimate:
    return pb.FineTuneEstimate(
        spec=spec_to(admitted.run),
        records=estimate.records,
        dropped={found.code: found.records for found in estimate.dropped},
        dropped_records=[pb.DroppedRecords(**vars(found)) for found in estimate.dropped],
        contributors=estimate.contributors,
        train_records=estimate.train_records,
        held_out_records=estimate.held_out_records,
        train_tokens=estimate.train_tokens,
        counterfactual_tokens=estimate.counterfactual_tokens,
        counterfactual_seconds=estimate.counterfactual_seconds,
        parts=estimate.parts,
        parts_seconds=estimate.parts_seconds,
        steps=estimate.steps,
        seconds=estimate.seconds,
        memory_bytes=estimate.memory_bytes,
        price=str(estimate.price),
        price_per_1k_tokens=str(tariff.price_per_1k_tokens),
        licence=estimate.outcome.licence,
        licences=estimate.licences,
        attributions=attributions_to(estimate.outcome.attributions),
        cautions=[pb.Caution(**vars(caution)) for caution in estimate.cautions],
        snapshot_pins=pins_to(admitted.run.snapshots),
        base_sha256=admitted.run.base_sha256,
    )


def comparison_to(comparison: Comparison) -> pb.FineTuneComparison:
    return pb.FineTuneComparison(
        fine_tunes=map(fine_tune_to, comparison.fine_tunes),
        differences=[pb.RunDifference(**vars(difference)) for difference in comparison.differences],
        curves=[
            pb.LossCurve(fine_tune=job.name, points=[pb.LossPoint(**_known(vars(point))) for point in curve])
            for job, curve in zip(comparison.fine_tunes, comparison.curves, strict=True)
        ],
    )


def revision_to(revision: Revision) -> pb.AdapterRevision:
    lineage = manifest.from_json(canonical.parse_json(revision.manifest))  # our own: its signature was made here
    return pb.AdapterRevision(
        name=revision.name,
        owner=names.account(lineage.owner),
        base=lineage.base.name,
        base_sha256=lineage.base.sha256,
        index_root=lineage.index_root,
        files=lineage.files,
        snapshots=[snapshot.name for snapshot in lineage.snapshots],
        contributors=lineage.contributors,
        metrics=None if revision.metrics is None else metrics_to(revision.metrics),
        create_time=_time(revision.create_time),
        licence=lineage.licence,
        attributions=attributions_to(lineage.attributions),
        use=use_to(lineage.use),
        signer=lineage.signer,
        evaluation=lineage.evaluation,
        card=revision.card,
        private_files=lineage.private_files,
        replaces=_replaces_to(lineage.replaces),
        replaced_by=revision.replaced_by,
        combines=[pb.CombinedRevision(**vars(parent)) for parent in lineage.combines],
        registration=None if revision.registration is None else pb.Registration(**vars(revision.registration)),
        state=_state_of(revision),
        deprecation_reason=revision.deprecate_reason,
        deprecate_time=_maybe_time(revision.deprecate_time),
        flags=[
            pb.ErasureFlag(record=flag.record, reason=flag.reason, flag_time=_time(flag.time))
            for flag in revision.flags
        ],
    )


def base_to(model: BaseModel, unavailable: str) -> pb.BaseModel:
    kinds = {LocalFolder: "folder", HubModel: "hub"}
    return pb.BaseModel(
        name=f"baseModels/{model.name}",
        base=model.name,
        sha256=model.sha256,
        licence=model.licence,
        revision=model.revision,
        source=kinds.get(type(model.source), "package"),
        chat_template=model.chat_template,
        available=not unavailable,
        unavailable_reason=unavailable,
    )


def _state_of(revision: Revision) -> pb.AdapterRevisionState.ValueType:
    if revision.flags:
        return pb.ADAPTER_REVISION_STATE_FLAGGED
    if revision.deprecate_time is not None:
        return pb.ADAPTER_REVISION_STATE_DEPRECATED
    return pb.ADAPTER_REVISION_STATE_PUBLISHED


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _time(value: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp


def _maybe_time(value: datetime | None) -> Timestamp | None:
    return None if value is None else _time(value)
