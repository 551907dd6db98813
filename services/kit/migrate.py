"""Brings a service's database up to date, and ends: `python -m services.kit.migrate ledger`.

For a cluster, where that is a step before the services' new version starts, and not one of each replica.  All it takes
is OPENLEDGER_<SERVICE>_DATABASE_URL.  Knows of a service where its migrations lie.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from services.kit.config import hidden
from services.kit.database import Database, SchemaError

_SERVICES = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit status: 0, 2 for what cannot be understood, 3 where it failed; one line on stderr says why."""
    known = sorted(folder.parent.name for folder in _SERVICES.glob("*/migrations"))
    if len(arguments) != 1 or arguments[0] not in known:
        return _say(2, f"python -m services.kit.migrate {{{','.join(known)}}}")
    (service,) = arguments
    setting = f"OPENLEDGER_{service.upper()}_DATABASE_URL"
    url = environment.get(setting, "")
    try:
        made = make_url(url).get_backend_name()
    except ArgumentError:
        made = ""
    if made not in ("sqlite", "postgresql"):
        return _say(2, f"{service}: {setting} must name a database: postgresql://<user>:<password>@<host>/<database>")
    database = Database(url)
    try:
        database.migrate(_SERVICES / service / "migrations")
    except SchemaError as error:
        return _say(3, f"{service}: {error}")
    except DBAPIError as error:
        return _say(3, f"{service}: its database {hidden(url)} cannot be used: {error.orig}")
    finally:
        database.close()
    return _say(0, f"{service}: its database is up to date")


def _say(status: int, text: str) -> int:
    sys.stderr.write(" ".join(text.split()) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
