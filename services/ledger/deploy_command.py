"""`openledger deploy`: puts the contracts on a chain, on purpose, and writes the file that the ledger reads.

    openledger deploy --rpc URL --chain-id N --key FILE --out contracts.json
    OPENLEDGER_LEDGER_CONTRACTS_FILE=contracts.json openledger serve ledger

Killed anywhere and started again with the same file, it goes on, and makes nothing twice; a file that holds everything
is compared with the chain.  The terms are settings of the ledger, by the same names, and must be the same there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from eth_account import Account
from pydantic import TypeAdapter, ValidationError

from openledger import names
from openledger.cli.wallets import open_wallet
from openledger.key_files import KeyFileError
from services.kit.config import hidden
from services.ledger.chain import ChainError, Contracts
from services.ledger.chain_node import Node
from services.ledger.config import LedgerConfig
from services.ledger.deploy import NAMES, deploy
from services.ledger.signer import RemoteSigner, Signer
from services.ledger.terms import SETTINGS, terms_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; where the contracts are is JSON on stdout."""
    given = _parser().parse_args(arguments)
    try:
        settings = {name: _checked(name, getattr(given, name)) for name in SETTINGS}
        signer = _signer(given)
        sender = names.address(given.operator) if given.operator else signer.address.lower()
        node = Node.connect(given.rpc, given.chain_id)
        _agreed(given, node, signer, sender, settings)
        contracts = deploy(node, signer, terms_of(settings, sender), given.out)
    except (ChainError, KeyFileError, ValueError, OSError) as error:
        sys.stderr.write(f"{hidden(str(error))}\n")
        return 1
    json.dump(_told(contracts, sender, settings), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="openledger deploy", description=__doc__, formatter_class=form)
    parser.add_argument("--rpc", required=True, help="the chain's JSON-RPC")
    parser.add_argument("--chain-id", required=True, type=int, help="which chain it must be")
    parser.add_argument("--key", type=Path, help="the deployer's key: plain, or a keystore; it pays the gas")
    parser.add_argument("--signer-url", help="a signing service that has the key instead (JSON-RPC)")
    parser.add_argument("--signer-address", help="of the account by which it signs")
    parser.add_argument("--out", required=True, type=Path, help="the file: continued, if it is there")
    parser.add_argument("--operator", default="", help="the ledger's account, if another one deploys: an address")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="as without: where the contracts are is JSON on stdout")
    for name in SETTINGS:
        field = LedgerConfig.model_fields[name]
        words = f"{field.description}; default {field.default or 'empty'}"
        parser.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=words)
    return parser


def _checked(name: str, value: Any) -> Any:
    """The setting as the ledger takes it.  Raises `ValueError`."""
    field = LedgerConfig.model_fields[name]
    kind: Any = Annotated[cast(Any, field.annotation), field]
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"--{name.replace('_', '-')}: {error.errors()[0]['msg']}") from None


def _signer(given: argparse.Namespace) -> Signer:
    """Whoever signs.  Makes no key.  Raises `ValueError`, `KeyFileError`, `ChainError` and `OSError`."""
    if bool(given.key) == bool(given.signer_url) or bool(given.signer_url) != bool(given.signer_address):
        raise ValueError("name --key, or --signer-url with --signer-address: who signs, and pays the gas?")
    if given.key:
        found: Signer = Account.from_key(open_wallet(given.key).private_key)
        return found
    remote = RemoteSigner(given.signer_url, given.signer_address)
    remote.check()
    return remote


def _agreed(given: argparse.Namespace, node: Node, signer: Signer, sender: str, settings: dict[str, Any]) -> None:
    """Says what is about to be made, by whom and on what terms.  Raises `ValueError` for a no."""
    price, by, say = node.price(), signer.address.lower(), sys.stderr.write
    say(f"{', '.join(NAMES.values())}\n  on chain {node.chain_id}, by {by}, for the ledger {sender}\n")
    say(f"  gas: {price.base + price.tip} wei a unit now\n")
    say(f"  {given.out}: {'continued' if given.out.exists() else 'made'}\n")
    for name, value in settings.items():
        say(f"  {name} = {value or '(as the ledger or the guardian)'}\n")
    if not given.yes:
        say("None of it can be changed afterwards.  Go on? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise ValueError("nothing was sent")


def _told(contracts: Contracts, operator: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`settings`: those that the ledger must be given too."""
    found = {name: getattr(contracts, key) for key, name in NAMES.items()}
    told = {name: value for name, value in settings.items() if value != LedgerConfig.model_fields[name].default}
    named = {f"OPENLEDGER_LEDGER_{name.upper()}": str(value) for name, value in told.items()}
    where = {"chain_id": contracts.chain_id, "block": contracts.block, "operator": operator}
    return where | {"contracts": found, "settings": named}


if __name__ == "__main__":
    raise SystemExit(main())
