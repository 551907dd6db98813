"""Whom a command talks to, and with whose key: an installation's folder says both, and options say otherwise.

Knows nothing of what is asked.  What people must know is said in words on stderr, with exit status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

T = TypeVar("T")

KEY_FILE = "OPENLEDGER_KEY_FILE"

Data = Annotated[Path, typer.Option("--data", help="The installation's folder.")]
Port = Annotated[int, typer.Option("--first-port", help="The first of the installation's ports.")]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="File with your private key, or a keystore; default: $OPENLEDGER_KEY_FILE, or keys/builder.key of the "
        "installation.",
    ),
]
OperatorKey = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="File with an operator's private key, or a keystore; default: $OPENLEDGER_KEY_FILE, or keys/operator.key "
        "of the installation.",
    ),
]
Endpoint = Annotated[
    list[str] | None,
    typer.Option("--at", help="A service elsewhere, such as factory=10.0.0.7:7403; can be given more than once."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]


@dataclass(frozen=True)
class Connection:
    """Where the services are, and which key signs in: the one that is named, or that of the role.

    `makes_key`: whether that of the role is made where there is none.  A key that earns, pays or decides never is.
    """

    data: Path = Path("build/openledger")
    first_port: int = 7400
    key: Path | None = None
    at: tuple[str, ...] = ()
    role: str = "builder"
    makes_key: bool = True

    @contextlib.asynccontextmanager
    async def client(self, *, signed_in: bool = True) -> AsyncIterator[Any]:
        """A client of the services.  Raises `ValueError` for options that say nothing, `KeyFileError`."""
        from openledger import key_files
        from openledger.cli.installation import Installation
        from openledger.cli.wallets import open_wallet
        from openledger.client import Client
        from openledger.tls import TlsFiles

        installation = Installation(self.data.resolve(), self.first_port)
        endpoints = replace(installation.endpoints, **dict(map(_named, self.at)))
        wallet = None
        if signed_in:
            usual = installation.key_file(self.role)
            file = self.key or Path(os.environ.get(KEY_FILE) or usual)
            if file == usual and self.makes_key and not file.exists():
                key_files.private_key(file)
                sys.stderr.write(f"You had no key yet: a new one was made, and is in {file}. Who has it, is you.\n")
            wallet = open_wallet(file)
        async with Client(endpoints, wallet, tls=TlsFiles.of(os.environ)) as client:
            yield client


def _named(text: str) -> tuple[str, str]:
    name, _, where = text.partition("=")
    if name not in {"datanet", "factory", "openlora", "attribution", "ledger"} or ":" not in where:
        raise ValueError(f"--at {text!r} must be <service>=<host>:<port>, such as factory=10.0.0.7:7403")
    return name, where


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function; its trouble in words, exit status 1, or 130 when it was broken off."""
    from openledger.client import ApiError

    try:
        return asyncio.run(work())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (ApiError, TimeoutError, RuntimeError, OSError, ValueError) as error:
        sys.stderr.write(f"{str(error) or type(error).__name__}\n")
        if isinstance(error, ApiError) and error.reason == "UNREACHABLE":
            sys.stderr.write("Is it running? `openledger up` starts all services; --at names one that is elsewhere.\n")
        raise typer.Exit(1) from None


def dump(message: Message) -> None:
    """A message as JSON on stdout, with the names of its proto; unset fields are shown too."""
    text = MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    sys.stdout.write(text + "\n")
