"""Changes the key that opens payers' keys: `python -m services.kit.new_trace_key DATABASE_URL OLD_FILE NEW_FILE`.

For OpenLoRA's and Attribution's databases, while the service is stopped.  A DATABASE_URL of `-` is read from standard
input: everybody on the machine sees a command's arguments, and a password in them.  NEW_FILE is made if it is not
there.  Every payer's key is opened with the old one and wrapped under the new one, all in one transaction: killed
anywhere, either all are as they were or all are changed, and again does no harm.  Texts are not touched, for payers'
keys stay the same; but they seal nothing more, and what comes is sealed under fresh ones.  Copies of the database from
before open with the old key: destroy them, or keep the key with them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, MetaData, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError

from openledger.key_files import KeyFileError
from services.kit import sealing
from services.kit.config import hidden
from services.kit.database import Database
from services.kit.payer_keys import IN_USE, key_in, payer_key_table
from services.kit.sealing import Unopened

_KEYS = payer_key_table(MetaData())


def wrap_again(connection: Connection, old: bytes, new: bytes) -> int:
    """Returns how many keys were under the old one.  Raises `Unopened` for one that is under neither."""
    changed, ended = 0, datetime.now(UTC) - IN_USE
    for row in connection.execute(select(_KEYS).with_for_update()).all():
        try:
            key = sealing.unwrap(old, row.name, row.payer, row.wrapped)
        except Unopened:
            sealing.unwrap(new, row.name, row.payer, row.wrapped)
            continue
        wrapped = sealing.wrap(new, key, row.payer)
        this = _KEYS.c.name == row.name
        connection.execute(update(_KEYS).where(this).values(wrapped=wrapped))
        # As if its month were over: who has it by the old key reads nothing that is sealed from now on.
        connection.execute(update(_KEYS).where(this, _KEYS.c.create_time > ended).values(create_time=ended))
        changed += 1
    return changed


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, 2 for what cannot be understood, 3 where nothing was changed; one line on stderr says why."""
    if len(arguments) != 3:
        return _say(2, "python -m services.kit.new_trace_key DATABASE_URL OLD_FILE NEW_FILE")
    url, old_file, new_file = arguments[0], Path(arguments[1]), Path(arguments[2])
    url = sys.stdin.readline().strip() if url == "-" else url
    if not old_file.exists():
        return _say(2, f"{old_file} is not there")
    try:
        old, new = key_in(old_file), key_in(new_file)
        database = Database(url, erases=True)
    except (KeyFileError, OSError, ArgumentError) as error:
        return _say(2, str(error))
    try:
        changed = database.write_now(lambda c: wrap_again(c, old, new))
        database.empty_log()
    except (Unopened, DBAPIError) as error:
        return _say(3, f"nothing was changed in {hidden(url)}: {getattr(error, 'orig', error)}")
    finally:
        database.close()
    return _say(0, f"{changed} payers' keys are under the key in {new_file} now: TRACE_KEY_FILE is to be that")


def _say(status: int, text: str) -> int:
    sys.stderr.write(" ".join(text.split()) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
