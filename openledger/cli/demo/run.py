"""The demo's story: eight stages, from starting the services to a stranger's check of the receipts.

Broken off at any point (ctrl-C, kill, power), the next start goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from openledger import base_models, key_files
from openledger.cli.demo import hpo, people, report, tuning
from openledger.cli.demo.patience import PatientClient
from openledger.cli.demo.screen import Screen, short
from openledger.cli.demo.state import State
from openledger.cli.installation import Installation
from openledger.cli.supervisor import Supervisor
from openledger.client import Wallet
from openledger.datanet.v1 import datanet_pb2
from openledger.factory.v1 import factory_pb2
from openledger.ledger.v1 import ledger_pb2
from openledger.money import OPEN, format_open

CURATORS, RECORDS = 16, 10
DEPOSIT = 5 * OPEN
ASKED_OF_TUNED, ASKED_OF_BASE = 6, 2


@dataclass(frozen=True)
class Question:
    """A question: to which model, about which term, and whether the term was in the training data."""

    key: str
    prompt: str
    of_base: bool
    held_out: bool


@dataclass
class Story:
    """What the demo has found so far; the report is made of it."""

    corpus: hpo.Corpus
    snapshot: datanet_pb2.Snapshot = field(default_factory=datanet_pb2.Snapshot)
    tuning: factory_pb2.FineTune = field(default_factory=factory_pb2.FineTune)
    revision: factory_pb2.AdapterRevision = field(default_factory=factory_pb2.AdapterRevision)
    answers: list[dict[str, Any]] = field(default_factory=list)
    epoch: ledger_pb2.Epoch = field(default_factory=ledger_pb2.Epoch)
    claims: list[ledger_pb2.Claim] = field(default_factory=list)
    conservation: ledger_pb2.Conservation = field(default_factory=ledger_pb2.Conservation)
    settlement: ledger_pb2.SettlementInfo = field(default_factory=ledger_pb2.SettlementInfo)


class Demo:
    """One run of the demo on an installation."""

    def __init__(self, installation: Installation, screen: Screen, *, quick: bool = False) -> None:
        self.installation, self.screen = installation, screen
        self._epochs = tuning.QUICK_EPOCHS if quick else tuning.EPOCHS
        installation.make()
        self.state = State.load(installation.folder / "keys" / "demo.json")
        self.story = Story(hpo.load(CURATORS, RECORDS))
        self._tell = screen.line

    async def run(self) -> dict[str, Any]:
        """All of it; returns the report, which is also written to report.json."""
        with self.screen.stage("setup", "Starting the services"):
            base = await asyncio.to_thread(base_models.locate, self.installation.base, self._converting)
            self._tell(f"base model {self.installation.base}, {base_models.sha256(self.installation.base)[:12]}…")
            supervisor = await Supervisor(self.installation.waves(), self._process).__aenter__()
        try:
            return await supervisor.watch(self._tell_story(base))
        finally:
            await supervisor.__aexit__()

    async def _tell_story(self, base: Path) -> dict[str, Any]:
        with self.screen.stage("contribute", "Contributing medical definitions, each by the curator who wrote it"):
            await self._contribute()
        with self.screen.stage("train", "Tuning the model, and learning who moved the weights"):
            await self._tune()
        with self.screen.stage("pay_in", "Paying in: a deposit on chain, and a signed limit"):
            await self._pay_in()
        with self.screen.stage("serve", "Asking, base and tuned model in one batch"):
            await self._ask()
        with self.screen.stage("attribute", "Tracing every answer back to the data that shaped it"):
            await self._attribute()
        with self.screen.stage("settle", "Settling on chain"):
            await self._settle()
        with self.screen.stage("verify", "Checking as a stranger would: from published artifacts alone"):
            written = report.write(self.installation.folder, self.story, self.screen.seconds, self.installation.base)
            await self._verify(base)
        written = report.write(self.installation.folder, self.story, self.screen.seconds, self.installation.base)
        report.show(self.screen, self.story, self.installation.folder, self.installation.wallet("attribution").address)
        report.must_balance(self.story.conservation)
        self.state.finish_run()
        return written

    async def _contribute(self) -> None:
        self._tell(f"[dim]{escape(self.story.corpus.notice)}[/dim]")
        accepted = 0
        async with self._client(self.state.wallet("builder")) as builder:
            await people.open_datanet(builder, self.state, self.story.corpus)
            with self.screen.bar("contributing", len(self.story.corpus.curators)) as (bar, task):
                for curator in self.story.corpus.curators:
                    async with self._client(self.state.wallet(curator.pseudonym)) as client:
                        outcome = await people.contribute(client, self.state, curator, self.story.corpus.version)
                    accepted += outcome.accepted
                    for refused in (o for o in outcome.outcomes if o.reason):
                        self._tell(
                            f"{curator.pseudonym}: record {refused.index} was refused: {escape(refused.message)}"
                        )
                    bar.advance(task)
            self._tell(
                f"{accepted} records of {len(self.story.corpus.curators)} curators, each under a signed declaration"
            )
            self.story.snapshot = await people.cut_snapshot(builder, self.state)
        snapshot = self.story.snapshot
        self._tell(
            f"{snapshot.name}: root {snapshot.root.hex()[:16]}…, on chain by {short(snapshot.anchor.transaction)}"
        )

    async def _tune(self) -> None:
        async with self._client(self.state.wallet("builder")) as builder:
            begun = await tuning.begin(
                builder, self.state, self.installation.base, self.story.snapshot.name, self._epochs, self._tell
            )
            with self.screen.bar("reading the snapshot", None) as (bar, task):

                def see(event: factory_pb2.FineTuneEvent) -> None:
                    if event.HasField("progress"):
                        p = event.progress
                        words = f"step {p.step}/{p.steps}  loss {p.loss:.3f}  {p.seconds_left:.0f} s left"
                        bar.update(task, total=p.steps, completed=p.step, description=words)
                    elif event.message:
                        bar.update(task, description=escape(event.message)[:60])

                self.story.tuning = await tuning.watch(builder, begun.name, see)
            self.story.revision = await people.publish(builder, self.state, self.story.tuning)
        m = self.story.tuning.metrics
        self._tell(
            f"loss on {m.held_out_records} held-out records: {m.loss_before:.3f} before, {m.loss_after:.3f} after "
            f"({m.train_records} records, {m.seconds:.0f} s)"
        )
        self._tell(f"{self.story.revision.name[:60]}…")

    async def _pay_in(self) -> None:
        wallet = self.state.wallet("payer")  # its key where people can use it too, to ask what only a payer may
        key_files.keep(self.installation.key_file("payer"), wallet.private_key.encode)
        async with self._client(wallet) as payer:
            balance = await people.pay_in(payer, self.state, self.installation, DEPOSIT)
            self.story.settlement = await payer.call(
                payer.ledger.GetSettlementInfo, ledger_pb2.GetSettlementInfoRequest()
            )
        self._tell(f"{format_open(int(balance.spendable))} OPEN can be spent")

    async def _ask(self) -> None:
        questions = self._questions()
        texts: dict[str, str] = {}
        async with self._client(self.state.wallet("payer")) as payer:
            with self.screen.bar("asking", len(questions)) as (bar, task):

                async def one(question: Question) -> dict[str, Any]:
                    def see(text: str) -> None:
                        texts[question.key] = text
                        total = sum(len(t.split()) for t in texts.values())
                        bar.update(task, description=f"{total} words so far")

                    model = "base" if question.of_base else self.story.revision.name
                    response, text, summary = await people.ask(
                        payer, self.state, model, question.key, question.prompt, see
                    )
                    bar.advance(task)
                    return {
                        "question": question,
                        "model": model,
                        "response": response,
                        "text": text,
                        "summary": summary,
                    }

                self.story.answers = list(await asyncio.gather(*(one(q) for q in questions)))
        for answer in self.story.answers:
            who = "base " if answer["question"].of_base else "tuned"
            self._tell(f"[cyan]{who}[/cyan] {escape(answer['question'].prompt)}")
            self._tell(f"      [italic]{escape(answer['text'].strip()[:200])}[/italic]")

    async def _attribute(self) -> None:
        async with self._client(self.state.wallet("payer")) as payer:
            with self.screen.bar("computing receipts", len(self.story.answers)) as (bar, task):
                for answer in self.story.answers:
                    answer["receipt"] = await people.receipt_of(payer, answer["response"])
                    bar.advance(task)
        self._tell(f"{len(self.story.answers)} receipts, signed")

    async def _settle(self) -> None:
        async with self._client(self.state.wallet("payer")) as payer:
            for answer in self.story.answers:
                answer["payout"] = await people.payout_of(payer, answer["response"])
            revision = await people.registered(payer, self.story.revision.name)
        self._tell(
            f"the model is registered on chain by {short(revision.registration.transaction)}"
            if revision.HasField("registration")
            else "the model's registration on chain is still on its way"
        )
        async with self._client(self.installation.wallet("operator")) as operator:
            self.story.epoch = await people.close_epoch(operator, self.state)
            self._tell(
                f"{self.story.epoch.name}: root {self.story.epoch.root[:18]}… in {short(self.story.epoch.transaction)}"
            )
            accounts = self._earners()
            with self.screen.bar("claiming for the contributors", len(accounts)) as (bar, task):
                self.story.claims = await people.claim_for(
                    operator,
                    self.state,
                    accounts,
                    lambda _: bar.advance(task),
                )
            self.story.conservation = await operator.call(
                operator.ledger.GetConservation, ledger_pb2.GetConservationRequest()
            )
        moved = sum(int(claim.amount) for claim in self.story.claims)
        self._tell(
            f"{len(self.story.claims)} claims relayed: {format_open(moved)} OPEN now in the contributors' wallets"
        )

    async def _verify(self, base: Path) -> None:
        receipts = [str(p) for p in sorted((self.installation.folder / "receipts").glob("*.json"))]
        with self.screen.bar(f"recomputing {len(receipts)} receipts", None):
            await self._holds("a receipt", *receipts, "--base", str(base))
        self._tell(f"{len(receipts)} of {len(receipts)} receipts recomputed, to the unit: openledger verify RECEIPT")
        epoch, place = self.story.epoch, str(self.installation.folder / "artifacts")
        async with self._client(self.installation.wallet("operator")) as operator:
            first = await people.first_epoch(operator)
        # Epochs that an earlier version closed have no bundles to follow.
        alone = () if first.bundle else ("--alone",)
        chain = ("--rpc", self.installation.rpc_url)
        await self._holds("the epoch", "epoch", epoch.bundle, "--artifacts", place, *chain, *alone)
        self._tell(f"{epoch.name} derived from its receipts, to the root on chain: openledger verify epoch BUNDLE")

    async def _holds(self, what: str, *arguments: str) -> None:
        """Raises `RuntimeError` unless `openledger verify` finds that it does."""
        command = (sys.executable, "-m", "openledger.cli.main", "verify", *arguments)
        signer = ("--signer", self.installation.wallet("attribution").address)
        child = await asyncio.create_subprocess_exec(
            *command, *signer, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"{what} does not hold:\n{output.decode(errors='replace')[-3000:]}")

    def _questions(self) -> list[Question]:
        """Half about terms that were held out; the last ones go to the base model."""
        total = ASKED_OF_TUNED + ASKED_OF_BASE
        found = []
        for number in range(total):
            # Another curator for every question, and other ones in every run.
            curator = self.story.corpus.curators[(number + total * (self.state.run - 1)) % CURATORS]
            held_out = number % 2 == 0
            definition = (curator.held_out if held_out else curator.definitions)[self.state.run % 2]
            prompt = people.QUESTION.format(term=definition.term)
            found.append(Question(f"{number}", prompt, number >= ASKED_OF_TUNED, held_out))
        return found

    def _earners(self) -> list[str]:
        """The accounts of contributors to whom receipts give something provisionally, most first."""
        earned: dict[str, int] = {}
        for answer in self.story.answers:
            for key, amount in answer["receipt"].shares.items():
                if key.startswith("0x"):
                    earned[key] = earned.get(key, 0) + int(amount)
        return [f"accounts/{address}" for address in sorted(earned, key=lambda a: (-earned[a], a))]

    def _client(self, wallet: Wallet) -> PatientClient:
        return PatientClient(self.installation.endpoints, wallet)

    def _process(self, name: str, what: str) -> None:
        if what != "starting":
            self._tell(f"[dim]{name}: {escape(what)}[/dim]")  # the last lines of a log may be in it

    def _converting(self, line: str, done: float) -> None:
        if done in (0.0, 1.0):
            self._tell(f"[dim]{escape(line)}[/dim]")


def dump(written: dict[str, Any]) -> None:
    """The report on stdout."""
    json.dump(written, sys.stdout, indent=2)
    sys.stdout.write("\n")
