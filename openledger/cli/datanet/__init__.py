"""`openledger datanet`: open datanets, describe and find them, say who is in them; snapshots; what goes again."""

from __future__ import annotations

import typer

from openledger.cli.connection import Connection, Data, Endpoint, Key, Port
from openledger.cli.datanet import confirming, datanets, erasing, export, importing, members, proving, snapshots

app = typer.Typer(no_args_is_help=True)
app.command()(datanets.create)
app.command()(datanets.show)
app.command("list")(datanets.list_)
app.command()(datanets.update)
app.command()(members.members)
app.command()(members.invite)
app.command()(members.join)
app.command()(members.admit)
app.command()(members.remove)
app.command()(snapshots.snapshot)
app.command("snapshots")(snapshots.snapshots)
app.command()(export.export)
app.command("import")(importing.import_)
app.command()(proving.prove)
app.command()(proving.consistency)
app.command()(confirming.confirm)
app.command()(erasing.withdraw)
app.command()(erasing.erase)


@app.callback()
def connect(
    context: typer.Context,
    data: Data = Connection.data,
    first_port: Port = Connection.first_port,
    key: Key = None,
    at: Endpoint = None,
) -> None:
    """Open datanets, describe and find them, say who is in them; cut, prove and export their snapshots.

    Example: openledger datanet list medicine
    """
    context.obj = Connection(data, first_port, key, tuple(at or ()))
