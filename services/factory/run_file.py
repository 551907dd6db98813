"""A run as a file that people keep, edit and hand on: YAML, complete, one document.

`dump` writes every field with its value, so that a later change of a default changes no old run; `load` trusts nothing,
takes defaults for what is left out, and says where the first mistake is.  Knows nothing of what was trained or where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from services.factory.licence import Use
from services.factory.run import Replacement, Run, RunError, SnapshotPin
from services.factory.shown import listed, shown
from services.factory.spec import FLOATS, FineTuneSpec, SpecError

VERSION = "openledger.run.v1"
MAX_BYTES, _MAX_DEPTH = 256 * 2**10, 8
_MAX_SCALAR, _MAX_WORDS = 16_384, 300
"""Characters: of one value, as long as no text that a run has; and of what the library says."""
_HEADER = "# A fine-tune as one file.  The same file, data, machine and code give the same adapter.\n"
_FIELDS = {"version", "adapter", "use", "base", "snapshots", "training", "replaces"}
_SHA256 = re.compile(r"(?:[0-9a-f]{64})?\Z")


class RunFileError(ValueError):
    """The text is not a run file; the message says where and why."""


def dump(run: Run) -> str:
    """The file of a run."""
    training = run.spec.to_json()
    base = {"name": training.pop("base"), "sha256": run.base_sha256}
    document = {
        "version": VERSION,
        "adapter": run.adapter,
        "use": str(run.use),
        "base": base,
        "snapshots": [{"name": pin.name, "root": pin.root} for pin in run.snapshots],
        "training": training,
    }
    if run.replaces is not None:
        document["replaces"] = {
            "revision": run.replaces.revision,
            "training": run.replaces.training,
            "without": list(run.replaces.without),
        }
    return _HEADER + str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100))


def load(text: str) -> Run:
    """The run of a file.  Raises `RunFileError`."""
    document = _parse(text)
    _known(document, _FIELDS, "the run file")
    if document.get("version") != VERSION:
        raise RunFileError(f"version must be {VERSION}, got {shown(document.get('version'))}")
    base, training = _table(document, "base"), _table(document, "training")
    _known(base, {"name", "sha256"}, "base")
    if "base" in training:
        raise RunFileError("training has no base: the base model is named by base.name")
    if not isinstance(base.get("name"), str):
        raise RunFileError("base.name must be the name of a base model")
    try:
        return Run(
            adapter=_text(document, "adapter", "adapter"),
            snapshots=_snapshots(document.get("snapshots")),
            spec=FineTuneSpec.from_json(_numbers(training) | {"base": base["name"]}),
            use=_use(document.get("use", Use.COMMERCIAL)),
            base_sha256=_digest(base, "sha256", "base.sha256"),
            replaces=_replaces(document),
        )
    except SpecError as error:
        raise RunFileError(f"training.{error}") from error
    except RunError as error:
        raise RunFileError(str(error)) from error


def _parse(text: str) -> dict[str, Any]:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise RunFileError(f"the run file has more than {MAX_BYTES} bytes")
    try:
        _check_shape(text)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates that are none
        raise RunFileError(f"the run file is not YAML: {str(error)[:_MAX_WORDS]}") from error
    if not isinstance(document, dict):
        raise RunFileError("the run file must be a table of " + ", ".join(sorted(_FIELDS)))
    return document


def _check_shape(text: str) -> None:
    """Refuse what the library would follow without end, or stumble over, or pass over in silence.

    That is depth, length, references, types that are named, and keys that are given twice.

    Its first stage, the events, recurses over nothing.
    """
    keys: list[set[str] | None] = []
    waiting_for_key: list[bool] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise RunFileError(f"line {event.start_mark.line + 1}: references (& and *) have no place in a run file")
        if isinstance(event, yaml.CollectionEndEvent):
            keys.pop()
            waiting_for_key.pop()
        elif isinstance(event, yaml.NodeEvent):
            _check_node(event)
            if keys and keys[-1] is not None:
                if waiting_for_key[-1]:
                    _new_key(keys[-1], event)
                waiting_for_key[-1] = not waiting_for_key[-1]
            if isinstance(event, yaml.CollectionStartEvent):
                keys.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
                waiting_for_key.append(True)
                if len(keys) > _MAX_DEPTH:
                    raise RunFileError(f"line {event.start_mark.line + 1}: nested too deeply")


def _check_node(event: yaml.NodeEvent) -> None:
    line = event.start_mark.line + 1
    if getattr(event, "tag", None) is not None:
        raise RunFileError(f"line {line}: named types (!) have no place in a run file")
    if isinstance(event, yaml.ScalarEvent) and len(event.value) > _MAX_SCALAR:
        raise RunFileError(f"line {line}: a value has more than {_MAX_SCALAR} characters")


def _new_key(known: set[str], event: yaml.NodeEvent) -> None:
    line = event.start_mark.line + 1
    if not isinstance(event, yaml.ScalarEvent):
        raise RunFileError(f"line {line}: a key must be a plain word")
    if event.value in known:
        raise RunFileError(f"line {line}: {listed([event.value])} is given twice")
    known.add(event.value)


def _known(table: Mapping[Any, Any], fields: set[str], where: str) -> None:
    if unknown := [key for key in table if key not in fields]:
        raise RunFileError(f"{where} has unknown fields: {listed(unknown)}")


def _table(document: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = document.get(field)
    if not isinstance(value, dict):
        raise RunFileError(f"{field} must be a table")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise RunFileError(f"{where} must be a text, got {shown(value)}")
    return value


def _digest(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key) or ""
    if not isinstance(value, str) or not _SHA256.match(value):
        raise RunFileError(f"{where} must be 64 lower-case hex digits in quotes, or left out")
    return value


def _use(value: Any) -> Use:
    if value not in tuple(Use):
        raise RunFileError(f"use must be {' or '.join(Use)}, got {shown(value)}")
    return Use(value)


def _snapshots(value: Any) -> tuple[SnapshotPin, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise RunFileError("snapshots must be a list of tables with name and root")
    for entry in value:
        _known(entry, {"name", "root"}, "snapshots")
    return tuple(
        SnapshotPin(_text(entry, "name", "snapshots.name"), _digest(entry, "root", "snapshots.root")) for entry in value
    )


def _replaces(document: Mapping[str, Any]) -> Replacement | None:
    if "replaces" not in document:
        return None
    table = _table(document, "replaces")
    _known(table, {"revision", "training", "without"}, "replaces")
    without = table.get("without")
    if not isinstance(without, list) or not all(isinstance(who, str) for who in without):
        raise RunFileError("replaces.without must be a list of addresses in quotes")
    revision = _text(table, "revision", "replaces.revision")
    return Replacement(revision, _digest(table, "training", "replaces.training"), tuple(without))


def _numbers(training: Mapping[str, Any]) -> dict[str, Any]:
    """YAML 1.1 takes 1e-3 for a text, since it has no point."""
    return {name: _number(value) if name in FLOATS else value for name, value in training.items()}


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
