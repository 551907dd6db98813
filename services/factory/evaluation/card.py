"""The model card of an adapter revision: README.md as the Hugging Face hub reads it, from manifest and evaluation.

It names the revision, so it is written after the manifest and is none of its files.  Contributors stand under their
addresses, and no text of theirs is in it.  This module knows no store and fetches nothing.
"""

from __future__ import annotations

import math
import re
from typing import Any

from openledger.manifest import LineageManifest
from services.factory.audit import Audit
from services.factory.evaluation import card_text
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.report import EvaluationReport

# The hub's licence ids that are SPDX ids in lower case and that data or models often have; others are "other" there.
HUB_LICENCE = re.compile(
    r"apache-2\.0|bsd-[23]-clause|cc-by(-nc)?(-sa|-nd)?-4\.0|cc-by(-sa)?-3\.0|cc0-1\.0|cdla-permissive-[12]\.0|"
    r"cdla-sharing-1\.0|epl-2\.0|eupl-1\.[12]|isc|mit|mpl-2\.0|ofl-1\.1|postgresql|unlicense|zlib"
)
_DATANET = re.compile(r"datanets/[^/]+")


def write(
    manifest: LineageManifest,
    report: EvaluationReport | None,
    base_model: str = "",
    audit: Audit | None = None,
    *,
    another_form: bool = False,
) -> str:
    """README.md.  base_model: the base's id on the hub, where it has one; another_form: of the weights trained on.

    Raises ManifestError where the manifest is not valid.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=base_model or None,
        base_model_relation="adapter" if base_model else None,
        datasets=_datasets(manifest),
        library_name="peft",
        metrics=["accuracy", "perplexity"],
        pipeline_tag="text-generation",
        tags=["lora", *(["dora"] if manifest.spec.get("dora") else []), "openledger", "payable-ai", "data-attribution"],
        model_name=manifest.adapter,
        eval_results=_results(manifest, report) or None,
        **_licence(manifest.licence),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{card_text.body(manifest, report, base_model, audit, another_form)}"


def _licence(expression: str) -> dict[str, Any]:
    """The front matter's licence fields of an SPDX expression; none where the terms are not stated."""
    if not expression:
        return {}
    if HUB_LICENCE.fullmatch(expression.lower()):
        return {"license": expression.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", expression.lower()).strip("-")}


def _datasets(manifest: LineageManifest) -> list[str]:
    """Datanets, once each."""
    return list(dict.fromkeys(_datanet(snapshot.name) for snapshot in manifest.snapshots))


def _datanet(snapshot: str) -> str:
    found = _DATANET.match(snapshot)
    return found[0] if found else snapshot


def _results(manifest: LineageManifest, report: EvaluationReport | None) -> list[Any]:
    """What was measured, as entries of the model index; nothing that could not be."""
    from huggingface_hub import EvalResult

    if report is None or not manifest.snapshots:
        return []
    first, more = manifest.snapshots[0], len(manifest.snapshots) - 1
    held_out: dict[str, Any] = {
        "dataset_type": _datanet(first.name),
        "dataset_name": f"held-out records of {first.name}" + (f" and {more} more" if more else ""),
        "dataset_split": "held-out",
        "dataset_revision": first.root,
    }
    trivia: dict[str, Any] = {"dataset_type": "chatterbot-corpus", "dataset_name": "chatterbot-corpus, English trivia"}
    figures, forgetting = report.held_out.figures, report.forgetting
    rows: list[tuple[dict[str, Any], str, str, float | None]] = [
        (held_out, "accuracy", "Token accuracy", figures.accuracy_after.value),
        (held_out, "perplexity", "Perplexity", _perplexity(figures.loss_after)),
        (trivia, "perplexity", "Perplexity of the right answers", _perplexity(forgetting.loss_after)),
    ]
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Text generation",
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 6),
            **dataset,
        )
        for dataset, kind, name, value in rows
        if value is not None
    ]


def _perplexity(loss: Estimate) -> float | None:
    return math.exp(loss.value) if loss.value is not None and loss.value < 700 else None
