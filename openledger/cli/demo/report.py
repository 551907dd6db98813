"""The demo's report: report.json, whose shape others rely on (docs/demo-report.md), and the same for people.

Receipts are written beside it, one file a response, with the artifacts that `openledger verify` needs in `artifacts/`.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from openledger import receipt as receipts
from openledger import trace as traces
from openledger.artifacts import ArtifactStore
from openledger.cli.demo.screen import Screen, short
from openledger.money import format_open

SHOWN = 4
"""Contributors named an answer; the report has them all."""

if TYPE_CHECKING:
    from openledger.cli.demo.run import Story
    from openledger.ledger.v1 import ledger_pb2


def write(folder: Path, story: Story, seconds: dict[str, float], base: str) -> dict[str, Any]:
    """Write receipts and report.json; returns the report."""
    (folder / "receipts").mkdir(exist_ok=True)
    report = build(folder, story, seconds, base)
    temporary = folder / "report.json.new"
    temporary.write_text(json.dumps(report, indent=2) + "\n")
    temporary.replace(folder / "report.json")
    return report


def build(folder: Path, story: Story, seconds: dict[str, float], base: str) -> dict[str, Any]:
    """The report as a document; amounts are decimal strings in atomic units."""
    snapshot, metrics, epoch, sums = story.snapshot, story.tuning.metrics, story.epoch, story.conservation
    responses = [_response(folder, answer) for answer in story.answers]
    engine = _engine(folder, story.answers)
    return {
        "engine": engine,
        "model": {
            "base": base,
            "adapter_sha256": story.revision.name.rpartition("/")[2],
            "loss_before": metrics.loss_before,
            "loss_after": metrics.loss_after,
            "train_records": metrics.train_records,
        },
        "datanet": {
            "records": snapshot.record_count,
            "contributors": snapshot.contributor_count,
            "snapshot": snapshot.name,
            "root": snapshot.root.hex(),
            "anchor_tx": snapshot.anchor.transaction,
        },
        "responses": responses,
        "settlement": {
            "chain_id": story.settlement.chain_id,
            "epoch": epoch.name,
            "root": epoch.root,
            "tx": epoch.transaction,
            "bundle": epoch.bundle,
            "claims": [{"account": c.account, "amount": c.amount, "tx": c.transaction} for c in story.claims],
        },
        "conservation": {
            "fees": sums.fees,
            "paid": sums.paid,
            "held": sums.held,
            "difference": sums.difference,
        },
        "seconds": _seconds(seconds),
    }


def _response(folder: Path, answer: dict[str, Any]) -> dict[str, Any]:
    found, summary = answer["receipt"], answer["summary"]
    path = folder / "receipts" / f"{answer['response'].rpartition('/')[2]}.json"
    path.write_bytes(found.document)
    document = receipts.parse(found.document)
    return {
        "name": answer["response"],
        "prompt": answer["question"].prompt,
        "text": answer["text"],
        "adapter": "" if answer["question"].of_base else answer["model"],
        "tokens_in": summary.tokens_in,
        "tokens_out": summary.tokens_out,
        "fee": summary.fee,
        "receipt": {
            "path": str(path.relative_to(folder)),
            "method": document.method,
            "shares": {key: str(amount) for key, amount in sorted(document.shares.items())},
        },
    }


def _engine(folder: Path, answers: list[dict[str, Any]]) -> dict[str, str]:
    """Name and version of what answered, as the traces have it."""
    document = receipts.parse(answers[0]["receipt"].document)
    trace = traces.parse(ArtifactStore(folder / "artifacts").get(document.trace_sha256))
    name, _, version = trace.engine.partition(" ")
    return {"name": name, "version": version}


def _seconds(seconds: dict[str, float]) -> dict[str, float]:
    rounded = {key: round(value, 1) for key, value in seconds.items()}
    return rounded | {"total": round(sum(seconds.values()), 1)}


def show(screen: Screen, story: Story, folder: Path, signer: str) -> None:
    """Each question, its answer, and its receipt's provisional shares; then what was finally paid, and the sums.

    signer: the address that signs receipts here; without it a check cannot tell whose they are.
    """
    for answer in story.answers:
        _show_answer(screen, answer)
    sums, epoch = story.conservation, story.epoch
    screen.console.print(f"\n[bold]{epoch.name}[/bold]  root {epoch.root}", soft_wrap=True)
    screen.console.print(f"  posted in {epoch.transaction}", soft_wrap=True)
    screen.console.print(f"  the answers settled together, {len(story.claims)} contributors earned, and claimed:")
    for claim in story.claims:
        address = claim.account.removeprefix("accounts/")
        line = f"  {short(address)}  {format_open(int(claim.amount)):>10} OPEN  {claim.transaction}"
        screen.console.print(line, soft_wrap=True)
    equal = "=" if sums.difference == "0" else "is not"
    screen.console.print(f"\n[bold]fees in {sums.fees} {equal} paid {sums.paid} + held {sums.held}[/bold], to the unit")
    at, asked, by = shlex.quote(str(folder)), story.answers[0]["response"], f"--signer {signer}"
    why = f"openledger explain {asked} --data {at} --key {at}/keys/payer.key"
    for line in (
        f"\nReport: {folder / 'report.json'}",
        f"Check any receipt yourself: openledger verify {at}/receipts/*.json {by}",
        f"Check the epoch: openledger verify epoch {epoch.bundle} --artifacts {at}/artifacts {by}",
        f"Ask why, in words: openledger up --data {at}, and beside it {why}",
    ):
        # As they are: a command that is broken into lines cannot be copied, and a folder may look like markup.
        screen.console.print(escape(line), soft_wrap=True)


def must_balance(sums: ledger_pb2.Conservation) -> None:
    """Raises `RuntimeError` unless every unit of every fee is where the books say that it is."""
    if sums.difference != "0":
        raise RuntimeError(
            f"the books do not balance: of {sums.fees} in fees, {sums.paid} were paid and {sums.held} are held, which "
            f"is {sums.difference} off. This is a fault of ours: keep the folder as it is, and tell us"
        )


def _show_answer(screen: Screen, answer: dict[str, Any]) -> None:
    fee = int(answer["summary"].fee)
    shares = {key: int(amount) for key, amount in answer["receipt"].shares.items()}
    people = sorted(((k, a) for k, a in shares.items() if k.startswith("0x")), key=lambda p: (-p[1], p[0]))
    named, more = people[:SHOWN], people[SHOWN:]
    rows = [(short(key), amount) for key, amount in named]
    if more:
        label = "1 more contributor" if len(more) == 1 else f"{len(more)} more contributors"
        rows.append((label, sum(amount for _, amount in more)))
    rows += [(key, shares[key]) for key in sorted(shares) if not key.startswith("0x")]
    table = Table(show_header=False, box=None, padding=(0, 1))
    for who, amount in rows:
        part = amount / fee
        table.add_row("    ", who, f"{format_open(amount)} OPEN", f"{part:6.1%}", "▇" * round(40 * part))
    question = answer["question"]
    model = "base model" if question.of_base else "tuned model"
    known = "held-out term" if question.held_out else "contributed term"
    screen.console.print(f"\n[bold]{escape(question.prompt)}[/bold]  [dim]({model}, {known})[/dim]")
    screen.console.print(f"[italic]{escape(answer['text'].strip())}[/italic]")
    screen.console.print(f"[dim]fee {format_open(fee)} OPEN, of which, contributors' shares provisional[/dim]")
    screen.console.print(table)
