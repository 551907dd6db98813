"""What a combination must be follows from its published parents; whatever is not that is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from openledger import combined
from openledger.adapters import materialise
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.influence import index
from openledger.influence.combination import CombinationError
from openledger.influence.index import ContributionIndex
from openledger.manifest import Base, Combined, Source, imported_prefix, parse
from tests.combining import KEY, PEOPLE, lineage_of, parent, publish, vectors
from tests.damage import damage_file

ANNE, BERT, CLEO = PEOPLE


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def combines(store):
    one = publish(store, parent("one", seed=1), (ANNE, BERT), left_out=True)
    two = publish(store, parent("two", seed=2, rank=3), (BERT, CLEO), left_out=True)
    return (Combined(two.revision, 3_000), Combined(one.revision, 7_000))


@pytest.fixture
def made(store, combines):
    return lineage_of(store, combined.derive(combined.open_parents(store, combines)), combines)


def check(store, lineage, tmp_path):
    store.put(lineage.to_bytes())
    folder = materialise(store, lineage.digest, tmp_path / "adapters")
    files = {name: store.path(lineage.files[name]) for name in combined.INDEXES if name in lineage.files}
    return combined.check(store, lineage, folder, files)


def test_what_follows_from_its_parents_holds(store, made, combines, tmp_path):
    assert parse(made.to_bytes()) == made
    assert made.contributors == {ANNE: 5, BERT: 10, CLEO: 5}
    assert [snapshot.name for snapshot in made.snapshots] == ["datanets/one/snapshots/1", "datanets/two/snapshots/1"]
    assert made.files.keys() == {combined.CONFIG, combined.WEIGHTS, *combined.INDEXES}
    words = check(store, made, tmp_path)
    assert f"0.7 of {combines[1].revision}, 0.3 of {combines[0].revision}" in words
    assert "signed by 0x" in words


def test_the_order_in_which_they_are_named_decides_nothing(store, combines):
    there, back = (combined.derive(combined.open_parents(store, named)) for named in (combines, combines[::-1]))
    assert {name: found.to_bytes() for name, found in there.indexes.items()} == {
        name: found.to_bytes() for name, found in back.indexes.items()
    }
    assert all(np.array_equal(tensor, back.tensors[name]) for name, tensor in there.tensors.items())
    assert combined.index_bytes(combined.open_parents(store, combines)) >= sum(
        len(found.to_bytes()) - 20_000 for found in there.indexes.values()
    )


def test_what_answers_are_audited_by_is_combined_where_all_have_it(store, combines):
    bare = publish(store, parent("bare", seed=3), (ANNE,))
    derived = combined.derive(combined.open_parents(store, [combines[0], Combined(bare.revision, 5_000)]))
    assert list(derived.indexes) == [combined.INDEX]


@pytest.mark.parametrize("tensor", ("lora_A", "lora_B"))
def test_another_weight_is_found(store, made, tmp_path, tensor):
    tensors = {name: part.copy() for name, part in load(store.get(made.files[combined.WEIGHTS])).items()}
    name = next(name for name in tensors if tensor in name)
    tensors[name][0, 0] = np.nextafter(tensors[name][0, 0], np.float32(9), dtype=np.float32)
    save_file(tensors, tmp_path / "weights")
    files = {**made.files, combined.WEIGHTS: store.put_file(tmp_path / "weights")}
    with pytest.raises(CombinationError, match=f"{tensor}.* is not the sum"):
        check(store, resigned(made, files=files), tmp_path)


def test_another_contribution_vector_is_found(store, made, tmp_path):
    """Whoever combines and signs cannot give somebody more than the parents do."""
    found = ContributionIndex.from_bytes(store.get(made.files[combined.INDEX]))
    vectors = found.vectors.copy()
    vectors[0] = -vectors[0]
    forged = replace(found, vectors=vectors)
    files = {**made.files, combined.INDEX: store.put(forged.to_bytes())}
    lineage = resigned(made, files=files, index_root=index.root(forged).hex())
    with pytest.raises(CombinationError, match="the root of contribution_index"):
        check(store, lineage, tmp_path)


def test_another_index_of_leaving_out_is_found(store, made, tmp_path):
    files = {**made.files, combined.INDEXES[1]: made.files[combined.INDEX]}
    with pytest.raises(CombinationError, match="the root of leave_one_out_index"):
        check(store, resigned(made, files=files), tmp_path)
    del files[combined.INDEXES[1]]
    with pytest.raises(CombinationError, match="which indexes there are"):
        check(store, resigned(made, files=files), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"contributors": {ANNE: 5, BERT: 5, CLEO: 5}}, "contributors is not what follows"),
        ({"snapshots": ()}, "snapshots is not what follows"),
        ({"base": Base("tiny", "ef" * 32)}, "another base model than its parents"),
    ),
)
def test_a_manifest_that_says_something_else_is_found(store, made, tmp_path, changes, words):
    with pytest.raises(CombinationError, match=words):
        check(store, resigned(made, **changes), tmp_path)


def test_other_weights_than_it_was_made_with_are_found(store, made, tmp_path):
    lied = tuple(replace(each, weight_bps=each.weight_bps + 1) for each in made.combines)
    with pytest.raises(CombinationError, match="is not the sum"):
        check(store, resigned(made, combines=lied), tmp_path)


def test_a_parent_whose_files_were_changed_is_found(store, made, combines, tmp_path):
    lineage = parse(store.get(combines[0].revision.rpartition("/")[2]))
    damage_file(store, lineage.files[combined.INDEX])
    with pytest.raises(ArtifactError, match="damaged"):
        check(store, made, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"base": Base("tiny", "ef" * 32)}, "different base models"),
        (
            {
                "adapter": imported_prefix("0x" + "0c" * 20) + "x",
                "contributors": {},
                "snapshots": (),
                "source": Source("imported"),
            },
            "whose records it was trained on is not known",
        ),
        ({"index_root": "12" * 32}, "another root than its manifest says"),
    ),
)
def test_parents_that_do_not_add_up_are_refused(store, combines, changes, words):
    if "source" in changes:
        from eth_account import Account

        owner = Account.from_key(KEY).address.lower()
        changes = changes | {"owner": owner, "adapter": imported_prefix(owner) + "x"}
    other = publish(store, parent("other", seed=4), (ANNE,), **changes)
    with pytest.raises(CombinationError, match=words):
        combined.open_parents(store, [combines[0], Combined(other.revision, 5_000)])


def test_a_combination_is_not_combined_again(store, made, combines):
    store.put(made.to_bytes())
    with pytest.raises(CombinationError, match=r"is a combination itself.*with weights multiplied"):
        combined.open_parents(store, [combines[0], Combined(made.revision, 5_000)])


def test_a_name_under_another_adapter_is_no_revision(store, combines):
    elsewhere = combines[0].revision.replace("adapters/two", "adapters/three")
    with pytest.raises(CombinationError, match="that is one of adapters/two"):
        combined.open_parents(store, [combines[1], Combined(elsewhere, 5_000)])


def test_weights_that_are_not_float32_are_refused(store, combines):
    half = parent("half", seed=4)
    half = replace(half, tensors={name: tensor.astype(np.float16) for name, tensor in half.tensors.items()})
    named = [combines[0], Combined(publish(store, half, (ANNE,)).revision, 5_000)]
    with pytest.raises(CombinationError, match="must be a float32 matrix"):
        combined.derive(combined.open_parents(store, named))


def test_an_index_of_other_weights_is_refused(store, combines):
    three = parent("three", seed=4)
    found = vectors(parent(rank=1), (ANNE,))
    files = {**publish(store, three, (ANNE,)).files, combined.INDEX: store.put(found.to_bytes())}
    lineage = publish(store, three, (ANNE,), files=files, index_root=index.root(found).hex())
    with pytest.raises(CombinationError, match="is not of its weights"):
        combined.derive(combined.open_parents(store, [combines[0], Combined(lineage.revision, 5_000)]))


def resigned(lineage, **changes):
    from openledger import manifest

    return manifest.sign(replace(lineage, **changes), KEY)
