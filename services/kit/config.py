"""Configuration: one frozen model a service, from environment and a TOML file, refused with a clear text when wrong.

Environment beats file: `OPENLEDGER_DATANET_LISTEN=...`; the file is named by `OPENLEDGER_DATANET_CONFIG`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from openledger.tls import TlsFiles

C = TypeVar("C", bound="ServiceConfig")

_PASSWORD = re.compile(r"(://[^:/@\s]*:).*(@)")
_NOT_OURS = re.compile(r"CONFIG\Z|PORT\Z|PORT_|SERVICE_HOST\Z|SERVICE_PORT")


class ConfigError(ValueError):
    """The configuration cannot be used; the text says which setting and why."""


class ServiceConfig(BaseSettings):
    """What every service is told."""

    service: ClassVar[str] = ""

    listen: str = Field("127.0.0.1:0", description="host:port of the gRPC API; port 0 takes a free one")
    metrics_listen: str = Field("", description="host:port of /metrics; empty turns it off")
    health_listen: str = Field("", description="host:port of health alone, in clear, for probes; empty turns it off")
    tls_certificate_file: Path | None = Field(None, description="PEM: ours, for callers and peers; None: all in clear")
    tls_key_file: Path | None = Field(None, description="PEM: the certificate's key")
    tls_authority_file: Path | None = Field(None, description="PEM: whose certificates peers, and callers, must have")
    tls_callers: bool = Field(True, description="with TLS: whether callers must have a certificate, too")
    data_dir: Path = Field(description="folder of this service's own files")
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite in data_dir")
    artifacts_dir: Path = Field(description="folder of published artifacts, shared by the services")
    service_secret: SecretStr = Field(description="shared by the services of one installation, 32 characters or more")
    service_secret_also: SecretStr = Field(
        SecretStr(""), description="another secret that is taken from callers, while the secret is changed; empty: none"
    )
    ledger: str = Field("", description="host:port of the ledger, which also issues the sessions")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    max_message_bytes: int = Field(4 * 2**20, ge=2**16, le=2**28)
    max_rpcs: int = Field(256, ge=1, description="RPCs in hand at once, all callers together")
    max_rpcs_per_caller: int = Field(64, ge=1, description="of these; of those who do not sign in, each machine's")
    max_rpc_seconds: float = Field(120, gt=0, description="longest answer of a method that is not a stream")
    max_stream_seconds: float = Field(3600, gt=0, description="longest stream; who watches for longer asks again")
    drain_seconds: float = Field(10, ge=0, description="how long calls in hand may go on after SIGTERM")

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("listen", "metrics_listen", "health_listen", "ledger")
    @classmethod
    def _host_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdigit() and int(port) < 2**16):
            raise ValueError("must be host:port, such as 127.0.0.1:7401")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        try:
            backend = make_url(value).get_backend_name() if value else "sqlite"
        except ArgumentError:
            backend = ""
        if backend not in ("sqlite", "postgresql"):
            raise ValueError("must be sqlite:///<file> or postgresql://<user>:<password>@<host>/<database>")
        return value

    @field_validator("service_secret", "service_secret_also")
    @classmethod
    def _long_enough(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        none = info.field_name == "service_secret_also" and not value.get_secret_value()
        if len(value.get_secret_value()) < 32 and not none:
            raise ValueError("must have at least 32 characters")
        return value

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        given = [bool(file) for file in (self.tls_certificate_file, self.tls_key_file, self.tls_authority_file)]
        if any(given) and not all(given):
            raise ValueError(
                "tls_certificate_file, tls_key_file and tls_authority_file are named together or not at all"
            )
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files by which this service is called and calls; None: in clear."""
        if self.tls_authority_file is None:
            return None
        return TlsFiles(self.tls_authority_file, self.tls_certificate_file, self.tls_key_file)

    @property
    def database(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / self.service}.db"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file."""
        file = os.environ.get(f"{_prefix(cls.service)}CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read it.  Raises `ConfigError` that names every setting that is wrong."""
        prefix = _prefix(cls.service)
        file = os.environ.get(f"{prefix}CONFIG")
        if file and not Path(file).is_file():
            raise ConfigError(f"{prefix}CONFIG names {file}, which is no file")
        unknown = [name for name in sorted(os.environ) if _is_unknown(name, prefix, cls.model_fields)]
        if unknown:
            lines = [f"  {name}: {_nearest(name, prefix, cls.model_fields)}" for name in unknown]
            raise ConfigError(f"{cls.service} does not know these settings:\n" + "\n".join(lines))
        try:
            return cls(_env_prefix=prefix, **overrides)  # type: ignore[call-arg]
        except ValidationError as error:
            lines = [f"  {_setting(prefix, e['loc'])}: {e['msg']}" for e in error.errors()]
            raise ConfigError(f"{cls.service} cannot start with this configuration:\n" + "\n".join(lines)) from None
        except (ValueError, OSError) as error:
            raise ConfigError(f"{cls.service} cannot read its configuration: {error}") from None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets of which one must have signed a service's token; ours is the first."""
        also = self.service_secret_also.get_secret_value()
        return (self.service_secret.get_secret_value(), *([also] if also else []))

    def resolved(self) -> dict[str, str]:
        """Every setting as text, secrets masked; printed at start."""
        return {key: hidden(str(value)) for key, value in self}


def hidden(text: str) -> str:
    """A text without the password of a URL in it."""
    return _PASSWORD.sub(r"\1***\2", text)


def _prefix(service: str) -> str:
    return f"OPENLEDGER_{service.upper()}_"


def _is_unknown(name: str, prefix: str, known: Mapping[str, Any]) -> bool:
    setting = name.removeprefix(prefix)
    # Kubernetes tells every pod of the services beside it, by names that may begin like ours.
    return name.startswith(prefix) and setting.lower() not in known and not _NOT_OURS.match(setting)


def _nearest(name: str, prefix: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name.removeprefix(prefix).lower(), known, 1)
    return f"is {prefix}{close[0].upper()} meant?" if close else "take it out of the environment"


def _setting(prefix: str, location: tuple[int | str, ...]) -> str:
    return prefix + "__".join(str(part) for part in location).upper()


def load_or_exit(config: type[C], **overrides: Any) -> C:
    """For a command line: the configuration, or its error on stderr and exit status 2."""
    try:
        return config.load(**overrides)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
