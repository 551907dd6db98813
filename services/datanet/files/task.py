"""What a contained worker does with a file: finds out what it is, and takes it apart, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from services.datanet.files import docx, image, limits, mapping, markdown, pdf, table, text
from services.datanet.files.found import Problem, Refused, Row, Source
from services.datanet.files.kinds import IMAGES, Kind, sniff
from services.datanet.files.limits import Limits
from services.datanet.files.mapping import Entry
from services.datanet.files.parsed import About, Job, Parsed

READERS: dict[Kind, Callable[[bytes, Collection[str]], Source]] = {
    Kind.JSONL: lambda data, _: table.read_jsonl(data),
    Kind.CSV: lambda data, _: table.read_csv(data),
    Kind.TEXT: text.read,
    Kind.MARKDOWN: markdown.read,
    Kind.PDF: pdf.read,
    Kind.DOCX: docx.read,
}


def parse(payload: bytes, file: int) -> bytes:
    """payload: a `Job`.  file: open, read from its beginning.  What is in it, as `Parsed` is sent."""
    with open(file, "rb", closefd=False) as opened:
        opened.seek(0)
        return taken_apart(opened.read(limits.FILE_BYTES + 1), Job.loads(payload)).dumps()


def taken_apart(data: bytes, job: Job) -> Parsed:
    """What is in a file.  Of any bytes whatever: entries and problems, and nothing else."""
    found = _Found(job.limits)
    kind: Kind | None = None
    parts: tuple[str, ...] = ()
    try:
        kind = sniff(data, job.name)
        if kind in IMAGES:
            return _looked_at(data, kind, job)
        source = READERS[kind](data, job.mapping)
        parts = source.parts
        chosen = mapping.decide(parts, job.mapping, job.fields)
    except Refused as refused:
        return Parsed(About(kind or "", parts=parts, problem_count=1), problems=(refused.problem,))
    found.take(_entries(source.rows, chosen, job.limits))
    about = About(kind, source.encoding, parts, chosen, len(found.entries), len(found.problems))
    return Parsed(about, tuple(found.entries), tuple(found.problems))


def _looked_at(data: bytes, kind: Kind, job: Job) -> Parsed:
    """An image is a record, with or without words about it."""
    row, picture = image.read(data, kind)
    parts, fields = image.PARTS, job.fields
    named = mapping.decide(parts, job.mapping, fields) if job.mapping else mapping.by_name(parts, fields)
    found = mapping.entry(row, named, job.limits.record_bytes) or Entry(row.place, {})
    if isinstance(found, Problem):
        return Parsed(About(kind, problem_count=1), problems=(found,))
    return Parsed(About(kind, "", parts, named, 1, 0, picture), (found,))


def _entries(rows: Iterable[Row | Problem], chosen: dict[str, str], bounds: Limits) -> Iterator[Entry | Problem]:
    for row in rows:
        found = row if isinstance(row, Problem) else mapping.entry(row, chosen, bounds.record_bytes)
        if found is not None:
            yield found


@dataclass
class _Found:
    """What was found so far, and how much more of it there may be."""

    limits: Limits
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    size: int = 0

    def take(self, found: Iterator[Entry | Problem]) -> None:
        """All of it, or as much as is taken of one file."""
        try:
            for each in found:
                if isinstance(each, Entry):
                    self._add(each)
                else:
                    self._note(each)
        except Refused as refused:
            self.problems.append(refused.problem)
        if not self.entries and not self.problems:
            self.problems.append(Problem("", "NOTHING_FOUND", "the file has nothing in what is mapped to fields"))

    def _add(self, entry: Entry) -> None:
        self.size += sum(len(each.encode()) for each in entry.fields.values())
        if len(self.entries) >= self.limits.records or self.size > self.limits.text_bytes:
            message = f"nothing from here on was read: {len(self.entries)} records are taken of a file; split it"
            raise Refused("FILE_TOO_LONG", message, entry.place)
        self.entries.append(entry)

    def _note(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= limits.PROBLEMS:
            message = f"nothing from here on was read: {len(self.problems)} places of the file cannot be read"
            raise Refused("TOO_MANY_PROBLEMS", message, problem.place)
