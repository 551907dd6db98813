from __future__ import annotations

import uuid
from dataclasses import replace

from services.datanet.anchors import anchor_request_id
from services.datanet.model import Snapshot

SNAPSHOT = Snapshot("terms", 3, b"\1" * 32, 5, 2, "MIT", "operations/snapshot-terms-3", 0, 1)


def test_a_snapshot_is_always_anchored_under_the_same_request():
    assert anchor_request_id(SNAPSHOT) == anchor_request_id(replace(SNAPSHOT, create_time=2))
    assert str(uuid.UUID(anchor_request_id(SNAPSHOT))) == anchor_request_id(SNAPSHOT)


def test_other_snapshots_and_later_attempts_are_other_requests():
    others = (replace(SNAPSHOT, version=4), replace(SNAPSHOT, datanet="words"), replace(SNAPSHOT, attempt=1))
    assert len({anchor_request_id(snapshot) for snapshot in (SNAPSHOT, *others)}) == 4
