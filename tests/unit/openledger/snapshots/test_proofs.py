from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger import canonical
from openledger.snapshots import proofs
from tests.snapshot_samples import Log

LOG = Log()
SIZES = st.integers(1, len(LOG.counts))
SAMPLES = {
    "record": LOG.record(3, 3),
    "record of a tree of one size with the next": Log((4,)).record(0, 1),
    "erased record": LOG.record(4, 2, erased=True),
    "snapshot": LOG.snapshot(2, 4),
    "newest snapshot": LOG.snapshot(4, 4),
    "consistency": LOG.consistency(1, 4),
    "consistency of powers of two": LOG.consistency(2, 4),
    "consistency with itself": LOG.consistency(3, 3),
}


def holds(data: bytes) -> bool:
    try:
        proofs.parse(data).check()
    except ValueError:
        return False
    return True


@given(st.data())
def test_what_is_true_is_proven(data):
    number = data.draw(SIZES)
    leaf = data.draw(st.integers(0, LOG.counts[number - 1] - 1))
    later = data.draw(st.integers(number, len(LOG.counts)))
    for proof in (
        LOG.record(leaf, number),
        LOG.record(leaf, number, erased=True),
        LOG.snapshot(number, later),
        LOG.consistency(number, later),
    ):
        assert proofs.parse(proof.to_bytes()) == proof
        assert f"datanets/terms/snapshots/{number}" in proof.check()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_changed_byte_is_found(name):
    data = SAMPLES[name].to_bytes()
    assert holds(data)
    for place in range(len(data)):
        for other in {data[place] ^ 1, data[place] ^ 16, ord("0"), ord("7"), ord("a")} - {data[place]}:
            changed = data[:place] + bytes([other]) + data[place + 1 :]
            assert not holds(changed), (place, changed[max(0, place - 30) : place + 30])
        assert not holds(data[:place] + data[place + 1 :]), place


@pytest.mark.parametrize("name", SAMPLES)
def test_a_path_that_is_longer_or_shorter_proves_nothing(name):
    document = json.loads(SAMPLES[name].to_bytes())
    for field in [field for field, value in document.items() if isinstance(value, list)]:
        for path in (document[field][:-1], [*document[field], "0" * 64], document[field][::-1]):
            if path != document[field]:
                assert not holds(canonical.dumps(document | {field: path})), field


def test_a_proof_of_another_tree_size_is_none():
    """RFC 6962's own proofs do not say of how many leaves their tree is: the snapshot does."""
    one = json.loads(Log((4,)).record(0, 1).to_bytes())
    entry = one["snapshot"] | {"record_count": 3}
    assert not holds(canonical.dumps(one | {"snapshot": entry}))


def test_two_datanets_have_no_common_log():
    ours = json.loads(LOG.consistency(1, 1).to_bytes())
    entry = ours["new"] | {"snapshot": "datanets/words/snapshots/1"}
    assert not holds(canonical.dumps(ours | {"new": entry}))


def test_an_erased_record_has_neither_text_nor_salt():
    whole, erased = (json.loads(LOG.record(1, 1, erased=erased).to_bytes()) for erased in (False, True))
    assert not holds(canonical.dumps(whole | {"salt": None}))
    assert not holds(canonical.dumps(erased | {"salt": whole["salt"]}))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ).map(lambda d: json.dumps(d).encode()),
    )
)
def test_nothing_else_is_a_proof_and_everything_else_is_said_in_words(data):
    assert not holds(data)


def test_a_proof_has_a_bound():
    with pytest.raises(ValueError, match="at most"):
        proofs.parse(b" " * (proofs.MOST_BYTES + 1))
    with pytest.raises(ValueError, match="nested"):
        proofs.parse(b"[" * 100_000)
