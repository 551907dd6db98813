"""Runs the embedded chain until SIGTERM or SIGINT: arguments, wiring, one line when it is ready."""

import argparse
import contextlib
import json
import logging
import signal
import sys
import threading
from pathlib import Path

from services.ledger.devchain.encoding import ADDRESS_BYTES, InvalidParams, read_data
from services.ledger.devchain.evm import Evm
from services.ledger.devchain.http import Server
from services.ledger.devchain.rpc import Methods
from services.ledger.devchain.storage import SqliteStorage, Unusable

DEFAULT_CHAIN_ID = 31337


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m services.ledger.devchain", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    parser.add_argument("--name", action="append", default=[], help="what callers call this machine; repeatable")
    parser.add_argument("--data", type=Path, required=True, help="the chain's file; made if it is not there")
    parser.add_argument("--chain-id", type=int, default=DEFAULT_CHAIN_ID, help="default: %(default)s")
    parser.add_argument(
        "--fund",
        action="append",
        default=[],
        metavar="0xADDRESS",
        help="an account with 1,000,000 ether at genesis; repeatable",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Serves until told to stop. Returns 0, or 1 with a line on stderr if it cannot start."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    options = parsed(arguments)
    try:
        funded = [read_data(address, ADDRESS_BYTES) for address in options.fund]
        storage = SqliteStorage(options.data)
        evm = Evm(storage, options.chain_id, funded)
        server = Server(options.port, Methods(evm), options.host, options.name)
    except (Unusable, InvalidParams, OSError) as error:
        print(f"devchain: {error}", file=sys.stderr)  # noqa: T201 - its voice on a terminal
        return 1
    with contextlib.closing(storage), server:
        _stop_on_signals(server)
        ready = {"service": "chain", "serving": True, "port": server.server_port, "chain_id": evm.chain_id}
        sys.stdout.write(json.dumps(ready | {"block": evm.head.block_number}) + "\n")  # what supervisors wait for
        sys.stdout.flush()
        server.serve_forever(poll_interval=0.05)
        with server.turn:  # a block under way is finished first
            return 0


def _stop_on_signals(server: Server) -> None:
    # `shutdown` waits for the serving loop, which the signal has interrupted: so another thread must ask.
    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
