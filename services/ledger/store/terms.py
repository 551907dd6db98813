"""By which rules and for which platforms fees are split here, now and before: what the ledger has published."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from openledger import canonical
from openledger.split import Rule
from services.ledger.store.tables import CONSUMER, PUBLISHED_TERMS


def publish(connection: Connection, rule: Rule, platform: str, source: str) -> None:
    """Keep the terms that come into force now, unless they are.  platform: lower-case address.

    source: the stream of receipts; how far it was read is kept with them.
    """
    t = PUBLISHED_TERMS
    newest = connection.execute(select(t.c.rule_sha256, t.c.platform).order_by(t.c.number.desc()).limit(1)).first()
    if newest is not None and tuple(newest) == (rule.digest(), platform):
        return
    read = connection.execute(select(CONSUMER.c.number).where(CONSUMER.c.source == source)).scalar()
    connection.execute(
        insert(t).values(
            rule_sha256=rule.digest(),
            rule=canonical.dumps(rule.to_json()).decode(),
            platform=platform,
            receipts_read=read or 0,
            create_time=datetime.now(UTC),
        )
    )


def published(connection: Connection) -> frozenset[tuple[Rule, str]]:
    """(rule, platform) of all terms that ever were in force here."""
    found = connection.execute(select(PUBLISHED_TERMS.c.rule, PUBLISHED_TERMS.c.platform).distinct())
    return frozenset((Rule(**json.loads(row.rule)), row.platform) for row in found)
