"""Records as an export wrote them, and as review tools give them back: read again, so that they can be given.

    .parquet   a column a field, and perhaps `META`
    .jsonl     the same, a JSON object a line
    .json      a list of Argilla's records (`fields`), or of Label Studio's tasks (`data`), with what reviewers answered

Sources: argilla 2, `Dataset.records.to_json`; https://labelstud.io/guide/task_format.  Knows no services.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from openledger import canonical, names
from openledger.snapshots import META

MOST_JSON_BYTES = 256 * 2**20
"""Of a `.json` file, which is read as a whole."""

Answers = Mapping[str, list[frozenset[str]]]
"""By question, what each reviewer who answered it chose."""


@dataclass(frozen=True)
class Given:
    """A record.  contributor: a lower-case address, empty where nothing says whose it was."""

    fields: Mapping[str, str]
    source: str = ""
    contributor: str = ""
    answers: Answers = field(default_factory=dict)

    def is_answered(self, question: str, answer: str) -> bool:
        """Whether more than half of those who answered this question chose that."""
        said = self.answers.get(question, [])
        return 2 * sum(answer in chosen for chosen in said) > len(said)


def find(path: Path) -> Path:
    """The file itself, or that of an export's folder.  Raises `ValueError`."""
    if not path.is_dir():
        return path
    inside = path / "data" if (path / "data").is_dir() else path
    files = sorted(file for file in inside.iterdir() if file.suffix in _READERS)
    if len(files) != 1:
        raise ValueError(f"{inside} has {len(files)} files of {', '.join(_READERS)}: name one")
    return files[0]


def read(place: Path) -> Iterator[Given]:
    """The records of a file, in order.  Raises `ValueError` that says which is none, and why; `OSError`."""
    for number, item in enumerate(items(place), 1):
        try:
            yield _given(item)
        except ValueError as error:
            raise ValueError(f"{place.name}, record {number}: {error}") from None


def items(place: Path) -> Iterable[Any]:
    """The same as they stand there.  Raises `ValueError` for a file that is none, `OSError`."""
    reader = _READERS.get(place.suffix)
    if reader is None:
        raise ValueError(f"{place.name} is none of {', '.join(_READERS)}")
    return reader(place)


def _given(item: Any) -> Given:
    item = _object(item, "it")
    if isinstance(item.get("data"), dict):
        answers = _label_studio(item.get("annotations"))
        return _record(item["data"], _object(item.get("meta"), "meta"), answers)
    if isinstance(item.get("fields"), dict):
        answers = _argilla(_object(item.get("responses"), "responses"))
        return _record(item["fields"], _object(item.get("metadata"), "metadata"), answers)
    return _record({k: v for k, v in item.items() if k != META}, _object(item.get(META), META), {})


def _record(fields: Mapping[str, Any], said: Mapping[str, Any], answers: Answers) -> Given:
    texts = {name: _text(value, name) for name, value in fields.items() if value is not None}
    contributor = _text(said.get("contributor") or "", "contributor")
    return Given(
        texts,
        _text(said.get("source") or "", "source"),
        names.address(contributor) if contributor else "",
        answers,
    )


def _text(value: Any, name: str) -> str:
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError):
        raise ValueError(f"{name} is no Unicode text") from None
    return str(value)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value or {}


def _label_studio(annotations: Any) -> Answers:
    """Of choices and ratings; who skipped the task has answered nothing."""
    answers: dict[str, list[frozenset[str]]] = {}
    for annotation in _list(annotations, "annotations"):
        if _object(annotation, "annotation").get("was_cancelled"):
            continue
        mine: dict[str, frozenset[str]] = {}
        for result in _list(annotation.get("result"), "result"):
            value = _object(_object(result, "result").get("value"), "value")
            if chosen := _chosen(value.get("choices", value.get("rating"))):
                question = str(result.get("from_name"))
                mine[question] = mine.get(question, frozenset()) | chosen
        for question, chosen in mine.items():
            answers.setdefault(question, []).append(chosen)
    return answers


def _argilla(responses: Mapping[str, Any]) -> Answers:
    return {
        question: [
            chosen
            for answer in _list(said, "responses")
            if (chosen := _chosen(_object(answer, "response").get("value")))
        ]
        for question, said in responses.items()
    }


def _chosen(value: Any) -> frozenset[str]:
    """What one reviewer chose: one thing or several; nothing where it is of another kind, such as a ranking."""
    several = value if isinstance(value, list) else [value]
    return frozenset(str(one) for one in several if isinstance(one, (str, int)))


def _list(value: Any, name: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value or []


def _parquet(place: Path) -> Iterator[Any]:
    if find_spec("pyarrow") is None:
        raise ValueError("it needs pyarrow: pip install 'openledger[parquet]'")
    from openledger.snapshots.files import read_items

    return read_items(place)


def _jsonl(place: Path) -> Iterator[Any]:
    with place.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _loads(line, f"{place.name}, line {number}")


def _json(place: Path) -> Iterable[Any]:
    if place.stat().st_size > MOST_JSON_BYTES:
        raise ValueError(f"{place.name} has more than {MOST_JSON_BYTES} bytes: split it, or use .jsonl")
    return _list(_loads(place.read_bytes(), place.name), place.name)


def _loads(data: bytes, where: str) -> Any:
    try:
        return canonical.parse_json(data)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from None


_READERS = {".parquet": _parquet, ".jsonl": _jsonl, ".json": _json}
