"""Just enough JSON-RPC for a wallet: balances, an ERC-20 transfer, a permit's nonce.

Nothing but the standard library and the wallet's own signing: the command line does not need a chain library.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from eth_account import Account

from openledger.client import Wallet

_TRANSFER, _BALANCE_OF, _NONCES = "a9059cbb", "70a08231", "7ecebe00"
_TIMEOUT, _MINED_SECONDS = 20.0, 60.0


class RpcError(RuntimeError):
    """The chain refused, or did not answer."""


class Rpc:
    """A chain by its JSON-RPC URL (http or https)."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not the URL of a JSON-RPC endpoint")
        self.url = url

    def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call's result.  Raises `RpcError`."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 - checked
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:  # noqa: S310 - the URL was checked
                answer = json.load(reply)
        except OSError as error:
            raise RpcError(f"the chain at {self.url} does not answer: {error}") from error
        if "error" in answer:
            raise RpcError(f"{method}: {answer['error'].get('message', answer['error'])}")
        return answer["result"]

    def token_balance(self, token: str, address: str) -> int:
        """ERC-20 balance in atomic units."""
        return self._read(token, _BALANCE_OF, address)

    def permit_nonce(self, token: str, address: str) -> int:
        """ERC-2612 nonce."""
        return self._read(token, _NONCES, address)

    def transfer(self, wallet: Wallet, token: str, to: str, amount: int) -> str:
        """Send OPEN; returns the transaction's hash once it is mined.  Raises `RpcError` if it failed."""
        data = "0x" + _TRANSFER + to.removeprefix("0x").rjust(64, "0") + f"{amount:064x}"
        price = 2 * int(self.call("eth_gasPrice"), 16)
        transaction = {
            "chainId": int(self.call("eth_chainId"), 16),
            "nonce": int(self.call("eth_getTransactionCount", wallet.address, "pending"), 16),
            "to": token_address(token),
            "value": 0,
            "gas": 120_000,
            "maxFeePerGas": price,
            "maxPriorityFeePerGas": min(price, 10**9),
            "data": data,
        }
        signed = Account.sign_transaction(transaction, wallet.private_key)
        digest = str(self.call("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex().removeprefix("0x")))
        return self._mined(digest)

    def _mined(self, digest: str) -> str:
        deadline = time.monotonic() + _MINED_SECONDS
        while time.monotonic() < deadline:
            receipt = self.call("eth_getTransactionReceipt", digest)
            if receipt is not None:
                if int(receipt["status"], 16) != 1:
                    raise RpcError(f"transaction {digest} was reverted")
                return digest
            time.sleep(0.1)
        raise RpcError(f"transaction {digest} was not mined in {_MINED_SECONDS:.0f} s")

    def _read(self, contract: str, selector: str, address: str) -> int:
        data = "0x" + selector + address.removeprefix("0x").rjust(64, "0")
        return int(self.call("eth_call", {"to": token_address(contract), "data": data}, "latest"), 16)


def token_address(address: str) -> str:
    """Checksummed (EIP-55), as signing libraries want it."""
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))
