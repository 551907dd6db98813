"""Just enough JSON-RPC for a wallet: what contracts say, and transactions of one's own.

Nothing but the standard library, the contracts' interface and the wallet's own signing: the command line does not need
a chain library.
"""

from __future__ import annotations

import json
import time
import urllib.request
from http.client import HTTPException
from typing import Any

from eth_abi.exceptions import DecodingError
from eth_account import Account

from openledger import abi, canonical
from openledger.client import Wallet
from openledger.money import format_open

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
                answer = canonical.parse_json(reply.read())
        except OSError as error:
            raise RpcError(f"the chain at {self.url} does not answer: {error}") from error
        except (HTTPException, ValueError) as error:
            raise RpcError(f"{self.url} does not speak JSON-RPC; is it the chain's URL? {error!r}") from error
        if isinstance(answer, dict) and answer.get("error") is not None:
            raise RpcError(f"{method}: {_reason(answer['error'])}")
        if not isinstance(answer, dict) or "result" not in answer:
            raise RpcError(f"{self.url} does not speak JSON-RPC; is it the chain's URL? It said {str(answer)[:100]!r}")
        return answer["result"]

    def number(self, method: str, *params: Any) -> int:
        """One JSON-RPC call's result that is a quantity.  Raises `RpcError`."""
        found = self.call(method, *params)
        try:
            return int(found, 16)
        except (TypeError, ValueError) as error:
            raise RpcError(f"{method}: {str(found)[:100]!r} is no quantity; is {self.url} the chain's URL?") from error

    def read(self, contract: str, at: str, function: str, *arguments: Any) -> tuple[Any, ...]:
        """What a function of one of our contracts says, as a tuple.  Raises `RpcError`."""
        data = "0x" + abi.encode_call(contract, function, *arguments).hex()
        found = str(self.call("eth_call", {"to": token_address(at), "data": data}, "latest"))
        try:
            return abi.decode_result(contract, function, bytes.fromhex(found.removeprefix("0x")))
        except (ValueError, DecodingError) as error:
            raise RpcError(f"{at} on the chain at {self.url} does not answer as {contract} does: {error}") from error

    def token_balance(self, token: str, address: str) -> int:
        """ERC-20 balance in atomic units."""
        return int(self.read("OpenToken", token, "balanceOf", address)[0])

    def permit_nonce(self, token: str, address: str) -> int:
        """ERC-2612 nonce."""
        return int(self.read("OpenToken", token, "nonces", address)[0])

    def transfer(self, wallet: Wallet, token: str, to: str, amount: int) -> str:
        """Send OPEN.  As `send`."""
        return self.send(wallet, token, "OpenToken", "transfer", to, amount)

    def send(self, wallet: Wallet, at: str, contract: str, function: str, *arguments: Any) -> str:
        """Call a function in a transaction; returns its hash once it is mined.

        Raises `RpcError`, with the contract's reason, if it would fail (nothing is sent then) or failed.
        """
        call = {"to": token_address(at), "data": "0x" + abi.encode_call(contract, function, *arguments).hex()}
        price = 2 * self.number("eth_gasPrice")
        transaction: dict[str, Any] = {
            **call,
            "chainId": self.number("eth_chainId"),
            "nonce": self.number("eth_getTransactionCount", wallet.address, "pending"),
            "value": 0,
            "gas": self.number("eth_estimateGas", {"from": token_address(wallet.address), **call}) * 6 // 5,
            "maxFeePerGas": price,
            "maxPriorityFeePerGas": min(price, 10**9),
        }
        self._must_afford(wallet.address, transaction["gas"] * price)
        signed = Account.sign_transaction(transaction, wallet.private_key)
        digest = str(self.call("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex().removeprefix("0x")))
        return self._mined(digest)

    def event(self, digest: str, contract: str, event: str) -> dict[str, Any]:
        """The fields of the one event of that name in a mined transaction.  Raises `RpcError`."""
        topic = "0x" + abi.event_topic(contract, event).hex()
        found = [log for log in self.call("eth_getTransactionReceipt", digest)["logs"] if log["topics"][0] == topic]
        if len(found) != 1:
            raise RpcError(f"transaction {digest} shows {len(found)} events {event}")
        topics = [bytes.fromhex(one[2:]) for one in found[0]["topics"]]
        return abi.decode_event(contract, event, topics, bytes.fromhex(found[0]["data"][2:]))

    def _must_afford(self, who: str, most: int) -> None:
        has = self.number("eth_getBalance", who, "latest")
        if has < most:
            raise RpcError(
                f"the gas may cost {format_open(most, 18)} ether, and {who} has {format_open(has, 18)}: send it some"
            )

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


def _reason(error: Any) -> str:
    """A node's error in words: the contract's own name for it, where it says."""
    data = error.get("data") if isinstance(error, dict) else None
    if isinstance(data, str) and data.startswith("0x"):
        decoded = abi.decode_error(bytes.fromhex(data[2:]))
        if decoded is not None:
            return f"{decoded[0]}{decoded[1]}"
    return str(error.get("message", error) if isinstance(error, dict) else error)


def token_address(address: str) -> str:
    """Checksummed (EIP-55), as signing libraries want it."""
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))
