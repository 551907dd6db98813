"""Puts the contracts on a chain, once: found again after a restart, continued after a crash.

Each creation is signed and written to the deployment file before it is sent, so that a deployment killed anywhere goes
on with the same bytes and never makes a contract twice. Whatever the file says is checked on the chain before it is
believed: genesis, code, and how the contracts are wired.
What it does not know: how the deployer's key is kept, and who the roles belong to.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rlp  # type: ignore[import-untyped]

from openledger.abi import artifact, encode_creation
from openledger.claims import address_bytes, keccak
from services.ledger.chain import Call, ChainError, ChainUnavailable, Contracts, NonceTooLow, Receipt, WrongChain
from services.ledger.chain_node import Node
from services.ledger.signer import Signer
from services.ledger.signing import sign

FILE_VERSION = 1
CONFIRMATION_SECONDS = 180.0
POLL_SECONDS = 0.2
NAMES = {
    "token": "OpenToken",
    "distributor": "RewardsDistributor",
    "escrow": "InferenceEscrow",
    "registry": "DatanetRegistry",
    "models": "ModelRegistry",
}
_LATER_TERMS = frozenset({"split_delay", "arbiter", "verdict_window", "challenge_bond", "max_epoch_increase"})
"""Of contracts, or versions of them, that older deployments lack; their files say nothing of them."""


class DeploymentMismatch(ChainError):
    """What is on the chain, or in the file, is not what was asked for; the message names the difference."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the contracts are made with; none of it can be changed afterwards.

    Roles are addresses. supply, cap, challenge_bond, max_epoch_increase: atomic units. Windows and delays: seconds.
    """

    treasury: str
    supply: int
    cap: int
    proposer: str
    guardian: str
    arbiter: str
    operator: str
    committer: str
    challenge_window: int
    verdict_window: int
    challenge_bond: int
    max_epoch_increase: int
    withdraw_delay: int
    split_delay: int


def deploy(node: Node, deployer: Signer, terms: Terms, path: Path, *, create: bool = True) -> Contracts:
    """Makes sure that the contracts are on the node's chain; returns where.

    path: the deployment file, kept for ever: without it the contracts are made anew. A contract that an older version
    did not know is added to it. create: whether contracts that are not in the file may be made.
    Raises DeploymentMismatch, WrongChain, ChainUnavailable (try again: it continues) and what `Node.broadcast` raises.
    """
    record = _Record.load(path, node, terms)
    if missing := [NAMES[key] for key in NAMES if not create and not record.holds(key)]:
        raise DeploymentMismatch(
            f"{path} does not say where {', '.join(missing)} is, and this process may not create it: "
            f"openledger deploy --out {path} does, and adds it to the file"
        )
    blocks = [_ensure(node, deployer, record, key, _arguments(key, record, terms), create=create) for key in NAMES]
    contracts = Contracts(node.chain_id, min(blocks), **{key: record.address(key) for key in NAMES})
    _verify(node, contracts, terms)
    return contracts


def _arguments(key: str, record: "_Record", terms: Terms) -> tuple[Any, ...]:
    """What a contract's constructor is given; the contracts before it in NAMES must be planned."""
    match key:
        case "token":
            return terms.treasury, terms.supply, terms.cap
        case "distributor":
            return record.address("token"), _distributor_terms(terms)
        case "escrow":
            return record.address("token"), record.address("distributor"), terms.operator, terms.withdraw_delay
        case "registry":
            return (terms.committer,)
        case "models":
            return terms.committer, record.address("registry"), terms.split_delay
    raise KeyError(key)


def _distributor_terms(terms: Terms) -> tuple[Any, ...]:
    """The contract's struct of that name."""
    roles = (terms.proposer, terms.guardian, terms.arbiter)
    return (*roles, terms.challenge_window, terms.verdict_window, terms.challenge_bond, terms.max_epoch_increase)


def _ensure(
    node: Node, deployer: Signer, record: "_Record", key: str, arguments: tuple[Any, ...], *, create: bool
) -> int:
    """Makes sure that one contract is created; returns its block, or an earlier one."""
    while True:
        if not record.holds(key):
            record.plan(node, deployer, key, Call(None, encode_creation(NAMES[key], *arguments)))
        try:
            receipt = node.receipt(record.hash(key))
            if receipt is None and node.code(record.address(key)):
                receipt = node.receipt(record.hash(key))  # it may have been mined since
                if receipt is None:
                    return 0  # so long ago that the node has forgotten when
            receipt = receipt or _mined(node, record.raw(key), record.hash(key))
        except NonceTooLow:
            if not create or record.builds_on(key):
                raise DeploymentMismatch(
                    f"{NAMES[key]}, which the deployment file says is at {record.address(key)}, is not on this chain "
                    "as this node shows it: ask another node, or name the right file"
                ) from None
            # Another transaction of the deployer took the nonce, so this one can never be mined: plan anew.
            record.drop(key)
            continue
        if not receipt.succeeded or receipt.contract != record.address(key):
            raise DeploymentMismatch(f"the creation of {NAMES[key]} failed in transaction {receipt.tx_hash}")
        return receipt.block_number


def _mined(node: Node, raw: bytes, tx_hash: str) -> Receipt:
    deadline = time.monotonic() + CONFIRMATION_SECONDS
    node.broadcast(raw)
    while (receipt := node.receipt(tx_hash)) is None:
        if time.monotonic() > deadline:
            raise ChainUnavailable(f"transaction {tx_hash} was not mined within {CONFIRMATION_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return receipt


def _verify(node: Node, contracts: Contracts, terms: Terms) -> None:
    """Compares code and wiring with what they must be. Raises DeploymentMismatch."""
    for key, name in NAMES.items():
        at = getattr(contracts, key)
        if not artifact(name).matches(node.code(at)):
            raise DeploymentMismatch(
                f"the code at {at} is not this version's {name}: contracts are never changed in place, so name a "
                "deployment file of this version's own; what the old ones owe is still claimed from them"
            )
    wiring: dict[tuple[str, str], Any] = {
        ("token", "cap"): terms.cap,
        ("distributor", "token"): contracts.token,
        ("distributor", "proposer"): terms.proposer,
        ("distributor", "guardian"): terms.guardian,
        ("distributor", "arbiter"): terms.arbiter,
        ("distributor", "challengeWindow"): terms.challenge_window,
        ("distributor", "verdictWindow"): terms.verdict_window,
        ("distributor", "challengeBond"): terms.challenge_bond,
        ("distributor", "maxEpochIncrease"): terms.max_epoch_increase,
        ("escrow", "token"): contracts.token,
        ("escrow", "distributor"): contracts.distributor,
        ("escrow", "operator"): terms.operator,
        ("escrow", "withdrawDelay"): terms.withdraw_delay,
        ("registry", "committer"): terms.committer,
        ("models", "committer"): terms.committer,
        ("models", "datanets"): contracts.registry,
        ("models", "splitDelay"): terms.split_delay,
    }
    for (key, function), expected in wiring.items():
        found = node.read(NAMES[key], getattr(contracts, key), function)
        if str(found).lower() != str(expected).lower():
            raise DeploymentMismatch(f"{NAMES[key]}.{function} is {found}, not {expected}")


class _Record:
    """The deployment file: the chain, the terms, and each creation's signed bytes."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path = path
        self._content = content

    @classmethod
    def load(cls, path: Path, node: Node, terms: Terms) -> "_Record":
        """Reads the file, or begins one. Raises WrongChain and DeploymentMismatch if it is about something else."""
        wanted: dict[str, Any] = {
            "version": FILE_VERSION,
            "chain_id": node.chain_id,
            "genesis": node.genesis,
            "terms": {k: str(v).lower() for k, v in asdict(terms).items()},
        }
        if not path.exists():
            return cls(path, wanted | {"transactions": {}})
        try:
            content = json.loads(path.read_text())
            stored = {key: content[key] for key in (*wanted, "transactions")}
        except (ValueError, KeyError, TypeError) as error:
            raise DeploymentMismatch(f"{path} is not a deployment file: {error}") from error
        if (stored["chain_id"], stored["genesis"]) != (wanted["chain_id"], wanted["genesis"]):
            raise WrongChain(f"{path} is about another chain (id or first block differ) than the node serves")
        for name, value in wanted["terms"].items():
            if name in _LATER_TERMS:
                stored["terms"].setdefault(name, value)
            if stored["terms"].get(name) != value:
                raise DeploymentMismatch(f"{path}: {name} was {stored['terms'].get(name)} and is now {value}")
        return cls(path, stored)

    def holds(self, key: str) -> bool:
        return key in self._content["transactions"]

    def builds_on(self, key: str) -> bool:
        """Whether a contract was planned after that one, which therefore was on the chain then."""
        return bool(list(self._content["transactions"])[-1] != key)

    def address(self, key: str) -> str:
        return str(self._content["transactions"][key]["address"])

    def hash(self, key: str) -> str:
        return str(self._content["transactions"][key]["hash"])

    def raw(self, key: str) -> bytes:
        return bytes.fromhex(self._content["transactions"][key]["raw"][2:])

    def plan(self, node: Node, deployer: Signer, key: str, call: Call) -> None:
        """Signs a creation with the deployer's next nonce and writes it down."""
        nonce = node.nonce(deployer.address, pending=True)
        gas = node.estimate(deployer.address, call)
        signed = sign(deployer, call, chain_id=node.chain_id, nonce=nonce, gas=gas, fees=node.fees())
        self._content["transactions"][key] = {
            "contract": NAMES[key],
            "address": _created(deployer.address, nonce),
            "hash": signed.hash,
            "raw": "0x" + signed.raw.hex(),
        }
        self._write()

    def drop(self, key: str) -> None:
        del self._content["transactions"][key]
        self._write()

    def _write(self) -> None:
        """Replaces the file as a whole, durably: a crash leaves the old one or the new one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        with partial.open("w") as file:
            json.dump(self._content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _created(deployer: str, nonce: int) -> str:
    """The address of the contract that an account's transaction of that nonce creates."""
    return "0x" + keccak(rlp.encode([address_bytes(deployer), nonce]))[-20:].hex()
