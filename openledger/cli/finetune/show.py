"""Fine-tunes, estimates, comparisons and revisions as people read them in a terminal.  Prints what it is given."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from openledger.factory.v1 import factory_pb2 as pb
from openledger.manifest_rules import WEIGHT_ONE
from openledger.money import format_open

_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
_MOST_PEOPLE = 10


def console() -> Console:
    """Text for stdout."""
    return Console(highlight=False)


def estimate(told: pb.FineTuneEstimate) -> None:
    """What a run would take."""
    out, grid = console(), _grid()
    grid.add_row("records", f"{told.records}: {told.train_records} to train on, {told.held_out_records} held out")
    for dropped in told.dropped_records:
        grid.add_row("", f"[yellow]{dropped.records} left out, {dropped.code}[/yellow]: {escape(dropped.reason)}")
    grid.add_row("tokens", f"{told.train_tokens:,} in {told.steps} steps")
    if told.parts > 1:
        grid.add_row("", f"{told.parts} times, to follow all contributors")
    if told.counterfactual_tokens:
        grid.add_row("", f"and {told.counterfactual_tokens:,} to check the contribution index")
    longer = f", {duration(told.parts_seconds)} of it to follow all contributors" if told.parts > 1 else ""
    longer += f", {duration(told.counterfactual_seconds)} of it for that check" if told.counterfactual_tokens else ""
    grid.add_row("time", duration(told.seconds) + longer)
    grid.add_row("memory", f"{told.memory_bytes / 2**30:.1f} GiB")
    grid.add_row("price", f"{format_open(int(told.price))} OPEN")
    grid.add_row("licence", f"{escape(told.licence)} (the adapter's)")
    for due in told.attributions:
        grid.add_row("", f"names {escape(due.source)}, {escape(due.licence)} {escape(due.notice)}".rstrip())
    grid.add_row("would be paid", people(told.contributors, told.train_records))
    out.print(grid)
    for caution in told.cautions:
        out.print(f"[yellow]! {escape(caution.message)}[/yellow]")


def people(contributors: Any, total: int) -> str:
    """The contributors with most records."""
    ordered = sorted(contributors.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{who[:6]}…{who[-4:]}  {records} ({records / max(total, 1):.0%})" for who, records in ordered]
    more = [f"and {len(lines) - _MOST_PEOPLE} more"] if len(lines) > _MOST_PEOPLE else []
    return "\n".join(lines[:_MOST_PEOPLE] + more) or "nobody"


def fine_tune(job: pb.FineTune) -> None:
    """One, with everything that matters."""
    out, grid = console(), _grid()
    grid.add_row("name", job.name)
    grid.add_row("state", status(job) + (f"  {job.reason}: {escape(job.message)}" if job.reason else ""))
    grid.add_row("adapter", job.adapter + (f", cloned from {job.clone_of}" if job.clone_of else ""))
    if job.HasField("replaces"):
        grid.add_row("replaces", f"{job.replaces.revision}, without {', '.join(job.replaces.without)}")
    grid.add_row("base", f"{escape(job.spec.base)}  {job.base_sha256[:16]}…")
    grid.add_row("snapshots", "\n".join(f"{pin.name}  {pin.root[:16]}…" for pin in job.snapshot_pins))
    grid.add_row("licence", escape(job.licence))
    grid.add_row("created", job.create_time.ToJsonString())
    if job.HasField("estimated_finish"):
        grid.add_row("should end", job.estimated_finish.ToJsonString())
    if job.HasField("metrics"):
        _metrics(grid, job.metrics)
    if job.revision:
        grid.add_row("revision", job.revision)
    out.print(grid)


def _metrics(grid: Table, found: pb.FineTuneMetrics) -> None:
    grid.add_row("trained on", f"{found.train_records} records of {found.contributors} contributors")
    if found.held_out_records:
        change = f"loss {found.loss_before:.3f} before, {found.loss_after:.3f} after"
        grid.add_row("held out", f"{found.held_out_records} records: {change}")
    if found.HasField("accuracy_after"):
        grid.add_row("", f"token accuracy {found.accuracy_before:.1%} before, {found.accuracy_after:.1%} after")
    if found.verdict:
        grid.add_row("verdict", escape(found.verdict))
    if found.audit:
        grid.add_row("audit", escape(found.audit))
    grid.add_row("took", f"{duration(found.seconds)} for {found.train_tokens:,} tokens")


def fine_tunes(jobs: Iterable[pb.FineTune]) -> None:
    """A list."""
    table = Table(Column("id", no_wrap=True, min_width=32), "state", "adapter", "base", "records", "loss", box=None)
    for job in jobs:
        has = job.HasField("metrics") and job.metrics.held_out_records > 0
        loss = f"{job.metrics.loss_before:.3f} → {job.metrics.loss_after:.3f}" if has else ""
        records = str(job.metrics.train_records) if job.HasField("metrics") else ""
        id_, adapter = job.name.removeprefix("fineTunes/"), job.adapter.removeprefix("adapters/")
        table.add_row(id_, status(job), adapter, escape(job.spec.base), records, loss)
    console().print(table)


def comparison(told: pb.FineTuneComparison) -> None:
    """Side by side."""
    table = Table("", *(job.name.removeprefix("fineTunes/")[:12] for job in told.fine_tunes), box=None)
    table.add_row("state", *(status(job) for job in told.fine_tunes))
    for row in told.differences:
        table.add_row(row.field, *(escape(value.strip('"')) for value in row.values))
    for title, field in (("loss before", "loss_before"), ("loss after", "loss_after"), ("seconds", "seconds")):
        cells = (f"{getattr(job.metrics, field):.3f}" if job.HasField("metrics") else "" for job in told.fine_tunes)
        table.add_row(title, *cells)
    table.add_row("verdict", *(escape(job.metrics.verdict) for job in told.fine_tunes))
    table.add_row("training", *(spark([p.train_loss for p in curve.points]) for curve in told.curves))
    held_out = ([p.valid_loss for p in curve.points if p.HasField("valid_loss")] for curve in told.curves)
    table.add_row("held out", *map(spark, held_out))
    console().print(table)


def spark(values: list[float], width: int = 24) -> str:
    """A curve in one line, lowest to highest of its own values."""
    bars = "▁▂▃▄▅▆▇█"
    if not values:
        return ""
    taken = [values[i * len(values) // min(width, len(values))] for i in range(min(width, len(values)))]
    low, high = min(taken), max(taken)
    return "".join(bars[round((value - low) / (high - low) * 7) if high > low else 0] for value in taken)


def evaluation(found: pb.FineTuneEvaluation) -> None:
    """What was measured, in words."""
    report, out = json.loads(found.report), console()
    out.print(f"[bold]{escape(found.verdict or report['judgement']['words'])}[/bold]")
    for warning in report["warnings"]:
        out.print(f"[yellow]! {escape(warning)}[/yellow]")
    for sample in report["samples"]:
        out.print(f"\n[dim]{escape(str(sample['prompt']))}[/dim]")
        for who in ("base", "tuned", "reference"):
            out.print(f"  {who:<9}  {escape(str(sample[who]).strip())}")


def revision(made: pb.AdapterRevision) -> None:
    """A published revision."""
    out, grid = console(), _grid()
    grid.add_row("revision", made.name)
    grid.add_row("licence", escape(made.licence))
    grid.add_row("index root", made.index_root)
    grid.add_row("signed by", made.signer)
    grid.add_row("on chain", _registration(made))
    for name, digest in sorted(made.files.items()):
        grid.add_row("file", f"{digest}  {escape(name)}")
    for name, digest in sorted(made.private_files.items()):
        grid.add_row("private", f"{digest}  {escape(name)}")
    if made.HasField("replaces"):
        grid.add_row("replaces", f"{made.replaces.revision}, without {', '.join(made.replaces.without)}")
    for parent in made.combines:
        grid.add_row("combines", f"{parent.weight_bps / WEIGHT_ONE:g} of {parent.revision}")
    if made.deprecation_reason:
        grid.add_row("deprecated", escape(made.deprecation_reason))
    if made.replaced_by:
        grid.add_row("instead", made.replaced_by)
    for flag in made.flags:
        grid.add_row("[red]erased[/red]", f"{flag.record}: {escape(flag.reason)}")
    out.print(grid)


def _registration(made: pb.AdapterRevision) -> str:
    at = made.registration
    if not made.HasField("registration"):
        return "not yet; it is registered by itself"
    by = f" by {at.transaction} in block {at.block}" if at.transaction else ""
    return f"chain {at.chain_id}, {at.contract}{by}"


def bases(models: Iterable[pb.BaseModel]) -> None:
    """The base models on offer."""
    table = Table("base", "licence", "source", "revision", "SHA-256", "", box=None)
    for model in models:
        state = "" if model.available else f"[red]{escape(model.unavailable_reason)}[/red]"
        facts = (model.base, model.licence, model.source, model.revision, f"{model.sha256[:16]}…")
        table.add_row(*map(escape, facts), state)
    console().print(table)


def status(job: pb.FineTune) -> str:
    """Its state in colour."""
    colour = _COLOURS.get(job.status, "white")
    return f"[{colour}]{job.status}[/{colour}]"


def duration(seconds: float) -> str:
    """As people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    return grid
