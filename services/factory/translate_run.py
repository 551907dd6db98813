"""Between runs and the messages that ask for them: specifications, run files, changes.

What is missing or cannot be is told by its field; whether a run can be done here is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import run_file
from services.factory.licence import Use
from services.factory.run import Run, RunError, SnapshotPin
from services.factory.run_file import RunFileError
from services.factory.spec import EVERY_TARGET, FineTuneSpec, SpecError
from services.kit.errors import Fault, invalid

_REQUIRED = ("base", "snapshots", "prompt_template", "completion_template")
_OF_THE_RUN = {"snapshots", "use"}
_USES = {pb.USE_COMMERCIAL: Use.COMMERCIAL, pb.USE_NON_COMMERCIAL: Use.NON_COMMERCIAL}
_USE_MESSAGES = {use: message for message, use in _USES.items()}
UNNAMED = "unnamed"
"""The adapter of a run that is only estimated."""


def run_from(spec: pb.FineTuneSpec | None, file: str, adapter: str, precision: str) -> Run:
    """The run that was asked for, by message or by file, with every default filled in.

    precision: the default that depends on the machine.  Raises `Fault`: INVALID_FIELD, BAD_SPEC, BAD_RUN_FILE.
    """
    if (spec is None) == (not file):
        raise invalid("INVALID_FIELD", "exactly one of spec and run_file must be set", "spec")
    if spec is None:
        run = _run_of_file(file)
        try:
            return replace(run, adapter=adapter) if adapter else run
        except RunError as error:
            raise bad_run_file(error) from error
    if not adapter:
        raise invalid("INVALID_FIELD", "adapter_id: is required", "adapter_id")
    missing = [field for field in _REQUIRED if not getattr(spec, field)]
    if missing:
        raise invalid("INVALID_FIELD", f"spec.{missing[0]}: is required", f"spec.{missing[0]}")
    return _run(spec, {"precision": precision}, adapter, Use.COMMERCIAL, ())


def changed(run: Run, changes: pb.FineTuneSpec, adapter: str) -> Run:
    """A run like this one, except for what is set in `changes`; hashes of what is changed are not pinned any more.

    Raises `Fault` BAD_SPEC.
    """
    made = _run(changes, run.spec.to_json(), adapter or run.adapter, run.use, run.snapshots)
    return replace(made, base_sha256=run.base_sha256 if made.spec.base == run.spec.base else "")


def _run(
    message: pb.FineTuneSpec, defaults: dict[str, Any], adapter: str, use: Use, snapshots: Sequence[SnapshotPin]
) -> Run:
    given = {field.name: value for field, value in message.ListFields() if field.name not in _OF_THE_RUN}
    if message.targets:
        given["targets"] = EVERY_TARGET if list(message.targets) == [EVERY_TARGET] else list(message.targets)
    known = {pin.name: pin for pin in snapshots}
    pins = [known.get(name, SnapshotPin(name)) for name in message.snapshots] or snapshots
    try:
        spec = FineTuneSpec.from_json(defaults | given)
        return Run(adapter, tuple(pins), spec, _USES.get(message.use, use))
    except SpecError as error:
        raise invalid("BAD_SPEC", f"spec: {error}", f"spec.{str(error).partition(' ')[0]}") from error
    except RunError as error:
        raise invalid("BAD_SPEC", f"spec: {error}", "spec.snapshots") from error


def spec_to(run: Run) -> pb.FineTuneSpec:
    """With every field set."""
    spec = run.spec
    targets = [spec.targets] if isinstance(spec.targets, str) else spec.targets
    return pb.FineTuneSpec(
        snapshots=[pin.name for pin in run.snapshots],
        use=_USE_MESSAGES[run.use],
        **(spec.to_json() | {"targets": targets}),
    )


def use_from(use: pb.Use.ValueType) -> Use:
    """What a model is for; commercial where nothing is said."""
    return _USES.get(use, Use.COMMERCIAL)


def use_to(use: str) -> pb.Use.ValueType:
    """What a model was made for, by its word."""
    return _USE_MESSAGES[Use(use)] if use else pb.USE_UNSPECIFIED


def _run_of_file(text: str) -> Run:
    try:
        return run_file.load(text)
    except RunFileError as error:
        raise bad_run_file(error) from error


def bad_run_file(error: RunFileError | RunError) -> Fault:
    """What its author must mend."""
    return invalid("BAD_RUN_FILE", f"run_file: {error}", "run_file")
