"""What a worker raises, by class name, as the reason that its fine-tune's owner reads (docs/errors/factory.md)."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "AdapterError": "UNTRAINABLE",
    "BaseChanged": "BASE_UNAVAILABLE",
    "BaseModelError": "BASE_UNAVAILABLE",
    "BaseModelUnavailable": "BASE_UNAVAILABLE",
    "Diverged": "NAN_LOSS",
    "DiskFull": "DISK_FULL",
    "LinAlgError": "NAN_LOSS",
    "MemoryError": "OUT_OF_MEMORY",
    "NothingToTrainOn": "NO_USABLE_RECORDS",
    "QuantizeError": "NAN_LOSS",
    "SketchError": "UNTRAINABLE",
    "RecordsMissing": "RECORD_ERASED",
    "ReplayError": "CANNOT_REPLACE",
    "SpanIndexError": "UNTRAINABLE",
    "SpecError": "UNTRAINABLE",
    "TrainingError": "UNTRAINABLE",
    "WeightsDiffer": "WORKERS_DIFFER",
}
"""What is not here is an error on our side."""
