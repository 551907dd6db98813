"""From options to what the Factory is asked: specifications by flags, run files by their text.

Values are taken by the fields' types; whether they make sense is the Factory's to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.descriptor import FieldDescriptor

from openledger.factory.v1 import factory_pb2 as pb

File = Annotated[
    Path | None, typer.Option("--file", "-f", help="A run file (YAML), such as `openledger finetune export` writes.")
]
Adapter = Annotated[str, typer.Option("--adapter", help="Id of the adapter that gets a new revision.")]
Base = Annotated[str, typer.Option("--base", help="Base model, see `openledger finetune bases`.")]
Snapshots = Annotated[
    list[str] | None,
    typer.Option("--snapshot", "-s", help="datanets/<datanet>/snapshots/<version>; up to 16, one option each."),
]
Prompt = Annotated[str, typer.Option("--prompt", help="What the model is asked, with {field} marks.")]
Completion = Annotated[str, typer.Option("--completion", help="What it should answer, with {field} marks.")]
NonCommercial = Annotated[bool, typer.Option("--non-commercial", help="The model is for non-commercial use.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other setting, such as --set rank=16 --set epochs=5 --set targets=q_proj,v_proj."),
]

_BASE = "smollm2-135m-instruct"
_NUMBERS = {FieldDescriptor.TYPE_UINT32: int, FieldDescriptor.TYPE_DOUBLE: float}
_ANSWERS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Asked:
    """What the options say."""

    file: Path | None
    adapter: str
    base: str
    snapshots: tuple[str, ...]
    prompt: str
    completion: str
    non_commercial: bool
    settings: tuple[str, ...]

    def changes(self) -> pb.FineTuneSpec:
        """What is said and nothing else.  Raises `ValueError` for a setting that there is not."""
        spec = pb.FineTuneSpec(
            base=self.base,
            snapshots=self.snapshots,
            prompt_template=self.prompt,
            completion_template=self.completion,
            use=pb.USE_NON_COMMERCIAL if self.non_commercial else pb.USE_UNSPECIFIED,
        )
        for setting in self.settings:
            _apply(spec, setting)
        return spec

    def request(self, kind: Any, **more: Any) -> Any:
        """An EstimateFineTuneRequest or CreateFineTuneRequest.  Raises `ValueError`, `OSError`."""
        if self.file is None:
            spec = self.changes()
            spec.base = spec.base or _BASE
            return kind(spec=spec, **more)
        if self.snapshots or self.prompt or self.completion or self.settings or self.base or self.non_commercial:
            raise ValueError("a run file says everything: leave out the other options, or edit the file")
        return kind(run_file=self.file.read_text(), **more)


def name_of(text: str) -> str:
    """A fine-tune's resource name, also from its bare id."""
    return text if text.startswith("fineTunes/") else f"fineTunes/{text}"


def names_of(texts: Iterable[str]) -> list[str]:
    """The same of several."""
    return [name_of(text) for text in texts]


def _apply(spec: pb.FineTuneSpec, setting: str) -> None:
    name, equals, value = setting.partition("=")
    field = pb.FineTuneSpec.DESCRIPTOR.fields_by_name.get(name)
    if field is None or not equals:
        known = ", ".join(field.name for field in pb.FineTuneSpec.DESCRIPTOR.fields)
        raise ValueError(f"--set {setting!r} must be <setting>=<value>; settings are {known}")
    try:
        if field.is_repeated:
            del getattr(spec, name)[:]
            getattr(spec, name).extend(part.strip() for part in value.split(","))
        else:
            setattr(spec, name, _value(field, value))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--set {setting!r}: {value!r} is no value of {name}") from error


def _value(field: Any, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _ANSWERS[text.lower()]
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_name[f"USE_{text.upper().replace('-', '_')}"].number
    return _NUMBERS.get(field.type, str)(text)
