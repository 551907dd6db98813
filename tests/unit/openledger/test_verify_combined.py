"""`verify` on an answer of a combination of two really trained adapters: it holds, and what was made up is found."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from openledger import combined, manifest
from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactStore
from openledger.influence import index
from openledger.influence.index import ContributionIndex
from openledger.manifest import Combined
from openledger.receipt import sign
from tests.combining import KEY as FACTORY
from tests.combining import lineage_of
from tests.damage import damage_file
from tests.published import CONTRIBUTORS, OWNER, publish
from tests.receipt_world import KEY, failed


@pytest.fixture(scope="module")
def made(published, tmp_path_factory):
    """The world of an answer by 0.6 of one adapter and 0.4 of another, of the same contributors."""
    folder = tmp_path_factory.mktemp("combined")
    store = ArtifactStore(folder / "artifacts")
    combines = tuple(
        Combined(licensed(store, publish(store, published.base, folder / f"trained{seed}", seed=seed)), weight)
        for seed, weight in ((1, 6_000), (2, 4_000))
    )
    derived = combined.derive(combined.open_parents(store, combines))
    base = read_manifest(store, combines[0].revision.rpartition("/")[2]).base
    lineage = lineage_of(store, derived, combines, owner=OWNER, base=base)
    return replace(published, artifacts=store.root, work=folder, adapter=named(published, store, lineage))


@pytest.fixture
def world(made, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(made.artifacts, tmp_path / "artifacts")
    return replace(made, artifacts=tmp_path / "artifacts", work=tmp_path)


@pytest.fixture(scope="module")
def signed(made):
    return sign(made.receipt(made.trace()), KEY)


def licensed(store, trained):
    lineage = read_manifest(store, trained.revision.rpartition("/")[2])
    signed = manifest.sign(replace(lineage, licence="CC-BY-4.0", use="commercial"), FACTORY)
    store.put(signed.to_bytes())
    return signed.revision


def named(world, store, lineage):
    store.put(lineage.to_bytes())
    return replace(world.adapter, revision=lineage.revision)


def test_an_answer_of_a_combination_holds_and_pays_the_parents_contributors(made, signed):
    checks = made.check(signed)
    assert failed(checks) == {}
    assert "computed again, are the sum of" in checks["combination"][1]
    assert signed.evidence.scores.keys() == set(CONTRIBUTORS)
    assert set(CONTRIBUTORS) & signed.shares.keys()
    parents = [read_manifest(made.store, each.revision.rpartition("/")[2]) for each in made.lineage.combines]
    placebos = [ContributionIndex.open(made.store.path(each.files[combined.INDEX])).header.placebos for each in parents]
    assert len(signed.evidence.placebos) == sum(placebos)


def test_an_answer_of_what_was_trained_has_no_such_check(published):
    receipt = sign(published.receipt(published.trace()), KEY)
    assert "combination" not in published.check(receipt)


def test_a_combination_that_gives_somebody_more_than_its_parents_do_is_found(world):
    """The index is whole, the manifest is signed, and the receipt is measured by them: all else holds."""
    found = ContributionIndex.from_bytes(world.store.get(world.lineage.files[combined.INDEX]))
    vectors = found.vectors.copy()
    vectors[0] = vectors[1]
    forged = replace(found, vectors=vectors)
    files = {**world.lineage.files, combined.INDEX: world.store.put(forged.to_bytes())}
    lineage = manifest.sign(replace(world.lineage, files=files, index_root=index.root(forged).hex()), FACTORY)
    world = replace(world, adapter=named(world, world.store, lineage))
    found = failed(world.check(sign(world.receipt(world.trace()), KEY)))
    assert found.keys() == {"combination"}
    assert "the root of contribution_index.safetensors is not what follows" in found["combination"]


def test_a_parent_that_is_not_there_or_was_changed_is_found(world, signed):
    parent = read_manifest(world.store, world.lineage.combines[0].revision.rpartition("/")[2])
    for digest in (parent.files[combined.WEIGHTS], parent.digest):
        damage_file(world.store, digest)
        found = failed(world.check(signed))
        assert found.keys() == {"combination"}
        assert "damaged" in found["combination"]
        damage_file(world.store, digest)
    place = world.artifacts / "sha256" / parent.digest[:2] / parent.digest
    place.unlink()
    assert failed(world.check(signed)).keys() == {"combination"}
