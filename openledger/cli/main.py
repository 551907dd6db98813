"""The `openledger` command.  Each subcommand loads only what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from openledger.cli import doctor as doctor_checks
from openledger.cli import money
from openledger.cli.adapters import app as adapter
from openledger.cli.audit import audit
from openledger.cli.contribute import contribute
from openledger.cli.datanet import app as datanet
from openledger.cli.default_group import DefaultGroup
from openledger.cli.epochs import epoch
from openledger.cli.explain import explain
from openledger.cli.finetune import app as finetune
from openledger.cli.forget import forget_answers
from openledger.cli.model import app as model
from openledger.cli.receipts import app as receipt
from openledger.cli.replay import replay
from openledger.cli.send import send
from openledger.cli.trace import trace
from openledger.cli.unlearn import app as unlearn
from openledger.cli.verify import verify
from openledger.cli.verify_epoch import verify_epoch
from openledger.cli.verify_grade import verify_grade
from openledger.cli.verify_sample import verify_sample
from openledger.cli.verify_snapshots import verify_consistency, verify_record, verify_snapshot
from openledger.cli.verify_training import verify_training
from openledger.cli.withdraw import withdraw

if TYPE_CHECKING:
    from openledger.cli.installation import Installation

T = TypeVar("T")

app = typer.Typer(
    help="OpenLedger: payable AI.  Data in, models tuned, answers traced, people paid - and all of it checkable.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
checks = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    help="Check what the services say: a receipt, a sample of many, an epoch, a model's grade or training, a snapshot.",
)
checks.command("receipt")(verify)
checks.command("epoch")(verify_epoch)
checks.command("grade")(verify_grade)
checks.command("record")(verify_record)
checks.command("snapshot")(verify_snapshot)
checks.command("consistency")(verify_consistency)
checks.command("sample")(verify_sample)
checks.command("training")(verify_training)
app.add_typer(checks, name="verify")
app.command("audit")(audit)
app.command("explain")(explain)
app.command("trace")(trace)
app.command("replay")(replay)
app.add_typer(receipt, name="receipt")
app.command("forget-answers")(forget_answers)
app.add_typer(finetune, name="finetune")
app.add_typer(adapter, name="adapter")
app.add_typer(model, name="model")
app.add_typer(datanet, name="datanet")
app.command("contribute")(contribute)
for command in (
    money.balance, money.statement, money.payouts, money.deposit, withdraw, money.claim, send, money.correct
):  # fmt: skip
    app.command()(command)
app.add_typer(epoch, name="epoch")
app.add_typer(unlearn, name="unlearn")

Folder = Annotated[Path, typer.Option("--data", help="The installation's folder.")]
FirstPort = Annotated[
    int,
    typer.Option("--first-port", min=1024, max=65_000, help="Six ports from here are used, and five from 51 above."),
]
Engine = Annotated[Literal["vllm", "transformers"], typer.Option(help="transformers is for where vLLM cannot run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]


@app.command()
def demo(
    data: Folder = Path("build/demo"),
    first_port: FirstPort = 7400,
    engine: Engine = "vllm",
    quick: Annotated[bool, typer.Option("--quick", help="Train for one epoch, not five: answers are poorer.")] = False,
    as_json: Json = False,
) -> None:
    """Take real data to a paid, checkable answer, through all five services, on this machine.

    Broken off, it goes on where it stopped when it is started again.

    Example: openledger demo --json > report.json
    """
    from openledger.cli.demo import hpo, run
    from openledger.cli.demo.screen import Screen
    from openledger.cli.installation import Installation

    screen = Screen()
    terms = {"factory": {"LICENCES": json.dumps({hpo.LICENCE: hpo.TERMS})}}
    installation = Installation(data.resolve(), first_port, engine, extra=terms)
    report = _run(installation, lambda: run.Demo(installation, screen, quick=quick).run(), screen.console.print)
    if as_json:
        run.dump(report)


@app.command()
def up(
    data: Folder = Path("build/openledger"),
    first_port: FirstPort = 7400,
    engine: Engine = "vllm",
    replicas: Annotated[
        int, typer.Option(min=1, max=9, help="OpenLoRAs that answer; each beyond the first has two ports more.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Run chain and services on this machine until ctrl-C, and restart what dies.

    Example: openledger up --data ~/openledger
    """
    from rich.console import Console

    from openledger.cli import up as up_command
    from openledger.cli.installation import Installation

    console = Console(stderr=True, highlight=False)
    installation = Installation(data.resolve(), first_port, engine, replicas=replicas)
    _run(installation, lambda: up_command.run(installation, console, as_json=as_json), console.print)


@app.command()
def serve(
    service: Annotated[str, typer.Argument(help="datanet, factory, openlora, attribution or ledger.")],
    as_json: Annotated[bool, typer.Option("--json", help="As without: what a service prints is JSON.")] = False,
) -> None:
    """Run one service in this process, configured by OPENLEDGER_<SERVICE>_... and its TOML file.

    It prints one JSON line on stdout when it serves, and where; its log, a JSON object a line, goes to stderr.

    Example: OPENLEDGER_LEDGER_CONFIG=ledger.toml openledger serve ledger
    """
    from openledger.cli.installation import SERVICES

    del as_json
    if service not in SERVICES:
        raise typer.BadParameter(f"{service!r} is none of {', '.join(SERVICES)}")
    os.execv(sys.executable, (sys.executable, "-m", f"services.{service}"))  # noqa: S606 - our own module, same Python


@app.command()
def migrate(
    service: Annotated[str, typer.Argument(help="datanet, factory, openlora, attribution or ledger.")],
    as_json: Annotated[bool, typer.Option("--json", help="As without: nothing is printed but words.")] = False,
) -> None:
    """Bring a service's database up to date, and end.  OPENLEDGER_<SERVICE>_DATABASE_URL names it.

    Services do so themselves when they start; in a cluster it is a step before them.

    Example: openledger migrate ledger
    """
    del as_json
    os.execv(sys.executable, (sys.executable, "-m", "services.kit.migrate", service))  # noqa: S606 - our own module


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def deploy(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As without: where the contracts are is JSON.")] = False,
) -> None:
    """Put the contracts on a chain, and write the file that the ledger reads.  With --help: what it takes.

    Example: openledger deploy --rpc https://rpc.example --chain-id 10 --key deployer.json --out contracts.json
    """
    del as_json
    command = (sys.executable, "-m", "services.ledger.deploy_command", *context.args)
    os.execv(sys.executable, command)  # noqa: S606 - our own module, same Python


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has and lacks for running, testing and checking OpenLedger.

    Example: openledger doctor --json
    """
    checks = doctor_checks.examine()
    if as_json:
        sys.stdout.write(json.dumps([vars(check) for check in checks], indent=2) + "\n")
    else:
        doctor_checks.show(checks)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(1)


def _run(installation: Installation, work: Callable[[], Coroutine[Any, Any, T]], say: Callable[[str], None]) -> T:
    """Run a coroutine function on an installation; what people must know is said in words, not in tracebacks.

    ctrl-C, SIGTERM and a closed terminal end it in good order; the exit status is then 128 + the signal's number.
    """
    from openledger.cli.demo.hpo import NotInstalled
    from openledger.cli.rpc import RpcError
    from openledger.cli.supervisor import StartFailed
    from openledger.client import ApiError

    told = signal.SIGINT

    async def until_told() -> T:
        def cancel(number: signal.Signals, task: asyncio.Task[Any]) -> None:
            nonlocal told
            told = number
            task.cancel()

        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, cancel, number, task)
        return await work()

    try:
        with installation.held():
            return asyncio.run(until_told())
    except (KeyboardInterrupt, asyncio.CancelledError):
        with contextlib.suppress(OSError):  # the terminal may be what was closed
            say("\n[yellow]Stopped. Nothing is lost: start it again and it goes on from here.[/yellow]")
        raise typer.Exit(128 + told) from None
    except (ApiError, StartFailed, NotInstalled, RpcError, TimeoutError, RuntimeError, OSError, ValueError) as error:
        from rich.markup import escape

        say(f"\n[red]{escape(str(error) or type(error).__name__)}[/red]")
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
