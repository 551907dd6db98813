"""One answer, paid, attributed and verified, through all services: what `helm test` runs, and whoever wants to know.

    python paid_answer.py --key payer.key --deposit 1 --artifacts FOLDER --at ledger=host:port --at openlora=...

Pays in by the `openledger` command, asks the base model, waits for the receipt and for its booking, and has
`openledger verify` recompute the receipt from what was published.  The exit status is 0 when all of it was so; a line
each says what was done, or what was not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc

from openledger.attribution.v1 import attribution_pb2
from openledger.cli.wallets import open_wallet
from openledger.client import ApiError, Client, Endpoints, request_id
from openledger.ledger.v1 import ledger_pb2
from openledger.openlora.v1 import openlora_pb2
from openledger.tls import TlsFiles

QUESTION = "Name one symptom of a common cold."
SECONDS = 600.0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", type=Path, required=True, help="of a wallet that holds OPEN")
    parser.add_argument("--deposit", default="1", help="OPEN to pay in")
    parser.add_argument("--artifacts", type=Path, required=True, help="folder of what is published")
    parser.add_argument("--base", default="", help="folder of the base model, where its name is not known here")
    parser.add_argument("--at", action="append", default=[], metavar="SERVICE=HOST:PORT", help="where each service is")
    return parser.parse_args()


async def paid_answer(given: argparse.Namespace) -> None:
    """All of it.  Raises `ApiError`, `RuntimeError`."""
    at = [part for where in given.at for part in ("--at", where)]
    command("deposit", given.deposit, "--by", "transfer", "--key", str(given.key), *at)
    say(f"{given.deposit} OPEN paid in")
    endpoints = Endpoints(**dict(where.split("=", 1) for where in given.at))
    async with Client(endpoints, open_wallet(given.key), tls=TlsFiles.of(os.environ)) as client:
        answer = await asked(client)
        say(f"answered: {' '.join(answer.text.split())[:60]!r}, {answer.summary.fee} atomic units")
        name = answer.response.replace("responses/", "receipts/")
        wanted = attribution_pb2.GetReceiptRequest(name=name, wait_seconds=20)
        receipt = await once_there(client, client.attribution.GetReceipt, wanted)
        say(f"attributed: {receipt.name}")
        booked = ledger_pb2.GetPayoutRequest(response=answer.response, wait_seconds=20)
        await once_there(client, client.ledger.GetPayout, booked)
        say("booked by the ledger")
    with tempfile.TemporaryDirectory() as folder:
        command("receipt", "fetch", answer.response, "--to", folder, "--key", str(given.key), *at)
        file = Path(folder, answer.response.removeprefix("responses/") + ".json")
        base = ("--base", given.base) if given.base else ()
        command("verify", str(file), "--artifacts", str(given.artifacts), *base)
    say("verified from what was published")


async def asked(client: Client) -> Any:
    """An answer of the base model; the same request again, while the service is away, is charged once."""
    request = openlora_pb2.ChatRequest(
        model="base",
        messages=[openlora_pb2.Message(role="user", content=QUESTION)],
        sampling=openlora_pb2.Sampling(max_tokens=16),
        request_id=request_id(),
    )
    return await once_there(client, client.openlora.ChatAnswer, request)


async def once_there(client: Client, method: Any, request: Any) -> Any:
    """What is asked for, as soon as it is there.  Raises `ApiError`; `TimeoutError` when it does not come."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await client.call(method, request, 120)
            except ApiError as error:
                if error.code not in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}:
                    raise
            await asyncio.sleep(1)


def command(*words: str) -> None:
    """An `openledger` command.  Raises `RuntimeError` with what it said, if it failed."""
    ran = subprocess.run(
        [sys.executable, "-m", "openledger.cli.main", *words], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"openledger {words[0]}: {(ran.stderr or ran.stdout).strip()[-2000:]}")


def say(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(f"· {text}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit status."""
    try:
        asyncio.run(paid_answer(arguments()))
    except (ApiError, RuntimeError, TimeoutError, OSError, ValueError) as error:
        sys.stderr.write(f"✗ {str(error) or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
