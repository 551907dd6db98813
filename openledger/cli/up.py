"""`openledger up`: everything on one machine until ctrl-C."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from openledger import base_models
from openledger.cli.installation import Installation
from openledger.cli.supervisor import Supervisor


async def run(installation: Installation, console: Console, *, as_json: bool) -> None:
    """Start, tell where everything is, and stay until cancelled."""
    installation.make()
    await asyncio.to_thread(
        base_models.locate, installation.base, lambda line, done: console.print(line) if done in (0.0, 1.0) else None
    )
    async with Supervisor(installation.waves(), lambda name, what: console.print(f"  {name}: {what}")) as supervisor:
        where = asdict(installation.endpoints) | {
            "chain": installation.rpc_url,
            "artifacts": str(installation.artifacts),
        }
        where |= {name: f"127.0.0.1:{installation.port(name)}" for name in installation.openloras}
        if as_json:
            sys.stdout.write(json.dumps(where) + "\n")
            sys.stdout.flush()
        else:
            _show(where, console)
        await supervisor.watch(asyncio.Event().wait())


def _show(where: dict[str, str], console: Console) -> None:
    table = Table("part", "where", box=None)
    for name, address in where.items():
        table.add_row(name, address)
    console.print(table)
    console.print("ctrl-C stops everything; nothing is lost by it.")
