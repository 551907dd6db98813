"""A one-machine installation: one folder that holds keys, databases, artifacts and logs, and what each process is told.

Making it is idempotent: what is there stays.  Knows names and environment variables of the services, not their code.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openledger import key_files
from openledger.cache import cache_folder
from openledger.client import Endpoints, Wallet
from openledger.money import OPEN

BASE = "smollm2-135m-instruct"
CHAIN_ID = 31337
SERVICES = ("ledger", "datanet", "factory", "openlora", "attribution")
"""In the order in which they start: the ledger issues the sessions that all others check."""

_PORTS = {"chain": 0, "ledger": 1, "datanet": 2, "factory": 3, "openlora": 4, "attribution": 5}
_METRICS_OFFSET = 50
FIRST_PORT = 7400


def ports(first: int) -> list[int]:
    """Every port of an installation: of the chain, of the services, and of the services' metrics."""
    return [first + n for n in _PORTS.values()] + [first + _PORTS[name] + _METRICS_OFFSET for name in SERVICES]


def _kept() -> dict[str, str]:
    """Where libraries keep what they make, which would else be in the user's home; as named already, if it is."""
    parts = {"VLLM_CACHE_ROOT": "vllm", "MPLCONFIGDIR": "matplotlib"}
    return {name: os.environ.get(name) or str(cache_folder(part)) for name, part in parts.items()}


class InUse(RuntimeError):
    """Another `openledger` runs in the folder."""


@dataclass(frozen=True)
class Process:
    """A program to run and to keep running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Installation:
    """The folder, and the first of its ports."""

    folder: Path
    first_port: int = FIRST_PORT
    engine: str = "vllm"
    base: str = BASE
    services: tuple[str, ...] = SERVICES
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More settings by service, such as {"openlora": {"MAX_TOKENS": "64"}}."""
    replicas: int = 1
    """How many OpenLoRAs: processes openlora, openlora-2, ...; the first one's answers bear no replica's name."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other `openledger` out of the folder meanwhile.  Raises `InUse`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "openledger.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InUse(f"another openledger runs in {self.folder}: stop it, or name another --data") from None
            yield

    def make(self) -> None:
        """Folders and keys, where they are not there yet.  Raises `KeyFileError` for a key that others can read."""
        for name in ("keys", "logs", "artifacts", "chain", *SERVICES, *self.openloras):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "keys").chmod(0o700)
        key_files.keep(self.folder / "keys" / "services.secret", lambda: secrets.token_urlsafe(48).encode())
        for name in ("operator", "treasury", "attribution", "platform"):
            key_files.private_key(self.key_file(name))

    def key_file(self, name: str) -> Path:
        """Where a key lies."""
        return self.folder / "keys" / f"{name}.key"

    def wallet(self, name: str) -> Wallet:
        """One of the installation's own wallets: operator, treasury, attribution, platform."""
        return Wallet(self.key_file(name).read_text().strip())

    def port(self, name: str) -> int:
        """The port of a process; further OpenLoRAs follow on the six."""
        service, _, number = name.partition("-")
        return self.first_port + _PORTS[service] + int(number or 0)

    @property
    def openloras(self) -> list[str]:
        """The processes that answer."""
        return ["openlora", *(f"openlora-{number}" for number in range(2, self.replicas + 1))]

    @property
    def rpc_url(self) -> str:
        """The chain's JSON-RPC."""
        return f"http://127.0.0.1:{self.port('chain')}"

    @property
    def artifacts(self) -> Path:
        """The folder of published artifacts."""
        return self.folder / "artifacts"

    @property
    def endpoints(self) -> Endpoints:
        """Where the services listen."""
        return Endpoints(**{name: f"127.0.0.1:{self.port(name)}" for name in SERVICES})

    def waves(self) -> list[list[Process]]:
        """Everything that runs: each wave starts together, once the one before it is ready."""
        first, *others = self.services
        names = [name for service in others for name in (self.openloras if service == "openlora" else [service])]
        return [[self._chain()], [self._service(first)], [self._service(name) for name in names]]

    def environment(self, name: str) -> dict[str, str]:
        """The settings of one process of a service, as environment variables."""
        service, _, replica = name.partition("-")
        settings = {
            "LISTEN": f"127.0.0.1:{self.port(name)}",
            "METRICS_LISTEN": f"127.0.0.1:{self.port(name) + _METRICS_OFFSET}",
            "DATA_DIR": str(self.folder / name),
            "ARTIFACTS_DIR": str(self.artifacts),
            "SERVICE_SECRET": (self.folder / "keys" / "services.secret").read_text().strip(),
            "LEDGER": f"127.0.0.1:{self.port('ledger')}",
            **self._own_settings(service),
            **({"REPLICA": replica} if replica else {}),
            **self.extra.get(service, {}),
        }
        named = {f"OPENLEDGER_{service.upper()}_{key}": value for key, value in settings.items()}
        # Services share the cores: threads that wait for work must sleep, not spin.
        return {"OMP_WAIT_POLICY": "PASSIVE", **_kept(), **named}

    def _own_settings(self, service: str) -> dict[str, str]:
        match service:
            case "ledger":
                return {
                    "RPC_URL": self.rpc_url,
                    "CHAIN_ID": str(CHAIN_ID),
                    "OPERATOR_KEY_FILE": str(self.key_file("operator")),
                    "OPERATORS": f'["{self.wallet("operator").address}"]',
                    "TREASURY": self.wallet("treasury").address,
                    "PLATFORM": self.wallet("platform").address,
                    "ATTRIBUTION": f"127.0.0.1:{self.port('attribution')}",
                    "ATTRIBUTION_SIGNERS": f'["{self.wallet("attribution").address}"]',
                    "CHALLENGE_WINDOW_SECONDS": "2",
                }
            case "datanet":
                return {
                    "VAULT_KEY_FILE": str(self.key_file("vault")),
                    "FACTORY": f"127.0.0.1:{self.port('factory')}",
                }
            case "factory":
                return {"DATANET": f"127.0.0.1:{self.port('datanet')}", "BASES": self.base}
            case "openlora":
                return {
                    "DATANET": f"127.0.0.1:{self.port('datanet')}",
                    "ENGINE": self.engine,
                    "OPERATORS": f'["{self.wallet("operator").address}"]',
                    "TRACE_KEY_FILE": str(self.key_file("traces")),
                    "BASE": self.base,
                    "PRICE_PER_1K_IN": str(OPEN // 5),
                    "PRICE_PER_1K_OUT": str(OPEN),
                    "PLATFORM_FEE": str(OPEN // 1000),
                }
            case "attribution":
                return {
                    "OPENLORA": ",".join(f"127.0.0.1:{self.port(name)}" for name in self.openloras),
                    "FACTORY": f"127.0.0.1:{self.port('factory')}",
                    "BASE": self.base,
                    "SIGNING_KEY_FILE": str(self.key_file("attribution")),
                    "TRACE_KEY_FILE": str(self.key_file("attribution-traces")),
                    "OPERATORS": f'["{self.wallet("operator").address}"]',
                }
        return {}

    def _chain(self) -> Process:
        operator = self.wallet("operator").address
        arguments = ("--port", str(self.port("chain")), "--data", str(self.folder / "chain" / "chain.db"))
        more = ("--chain-id", str(CHAIN_ID), "--fund", operator, "--fund", self.wallet("treasury").address)
        command = (sys.executable, "-m", "services.ledger.devchain", *arguments, *more)
        return Process("chain", command, {}, self.folder / "logs" / "chain.log", (self.port("chain"),))

    def _service(self, name: str) -> Process:
        command = (sys.executable, "-m", f"services.{name.partition('-')[0]}")
        ports = (self.port(name), self.port(name) + _METRICS_OFFSET)
        return Process(name, command, self.environment(name), self.folder / "logs" / f"{name}.log", ports)
