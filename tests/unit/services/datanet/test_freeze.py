from __future__ import annotations

import pytest

from openledger import records
from services.datanet import freeze
from services.datanet.model import Datanet, Definition, Snapshot, snapshot_key
from services.kit.errors import Fault

DATANET = Datanet("terms", "0x" + "a" * 40, Definition("Terms", "MIT"), 0, 0, 1, 1, 1)
LEAVES = [bytes([i]) * 32 for i in range(5)]


def last(leaves) -> Snapshot:
    root = records.snapshot_root(leaves)
    return Snapshot("terms", 1, root, len(leaves), 1, "MIT", "operations/snapshot-terms-1", 0, 1)


@pytest.mark.parametrize(
    ("leaves", "before", "reason"), (([], None, "EMPTY_SNAPSHOT"), (LEAVES, last(LEAVES), "NOTHING_NEW"))
)
def test_a_snapshot_holds_something_and_something_new(leaves, before, reason):
    with pytest.raises(Fault) as caught:
        freeze.new_root(DATANET, leaves, before)
    assert caught.value.reason == reason


def test_the_root_is_that_of_the_commitments_in_order():
    assert freeze.new_root(DATANET, LEAVES, last(LEAVES[:4])) == records.snapshot_root(LEAVES)


@pytest.mark.parametrize("version", ("0x1", "01", "+1", "1.0", "latest", "٣", "9" * 30))
def test_versions_are_plain_numbers(version):
    with pytest.raises((Fault, ValueError)):
        snapshot_key(f"datanets/terms/snapshots/{version}")
    assert snapshot_key("datanets/terms/snapshots/12") == ("terms", 12)
