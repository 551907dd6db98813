"""Checks of the adapter that answered, for `openledger.verify`: its manifest, files, contribution index, and grade."""

from __future__ import annotations

from openledger import combined, names, verify_grade
from openledger import grade as grades
from openledger.adapters import materialise, read_manifest
from openledger.artifacts import ArtifactError
from openledger.influence.index import ContributionIndex
from openledger.split import BASIS_POINTS
from openledger.verify_case import Case, Step, Wrong, must_equal, need

INDEX = "contribution_index.safetensors"


def _lineage(case: Case) -> str:
    receipt = case.the_receipt
    adapter, digest = names.match("adapters/*/revisions/*", receipt.model.adapter)
    lineage = read_manifest(case.artifacts, digest)
    pairs: dict[str, tuple[object, object]] = {
        "adapter": (adapter, lineage.adapter),
        "base model's SHA-256": (receipt.model.base_sha256, lineage.base.sha256),
        "developer": (receipt.developer, lineage.owner),
    }
    must_equal(pairs, "the receipt", "the adapter's manifest")
    case.lineage = lineage
    return f"the manifest of {adapter} has the SHA-256 that the receipt names, its owner is the receipt's developer"


def _files(case: Case) -> str:
    lineage = need(case.lineage, "the adapter's manifest")
    for name, digest in sorted(lineage.files.items()):
        try:
            case.artifacts.path(digest)
        except ValueError as error:
            raise Wrong(f"{name}: {error}") from error
    case.adapter = materialise(case.artifacts, lineage.digest, case.folder)
    case.index_file = case.artifacts.path(lineage.files[INDEX])
    return f"{', '.join(sorted(lineage.files))} have the SHA-256 that the manifest names"


def _index(case: Case) -> str:
    file, lineage = need(case.index_file, "the contribution index"), need(case.lineage, "the adapter's manifest")
    index = ContributionIndex.open(file)
    root = case.files.root(lineage.files[INDEX], index)
    named = case.the_receipt.model.index_root
    must_equal({"root": (root, named)}, "the contribution index, computed again,", "the receipt")
    must_equal({"root": (root, lineage.index_root)}, "the contribution index, computed again,", "the manifest")
    case.index = index
    return f"the root over {index.header.rows} contribution vectors, computed again, is {root}"


def _combination(case: Case) -> str:
    lineage, folder = need(case.lineage, "the adapter's manifest"), need(case.adapter, "the adapter's files")
    files = {name: case.artifacts.path(lineage.files[name]) for name in combined.INDEXES if name in lineage.files}
    return combined.check(case.artifacts, lineage, folder, files)


def _contributors(case: Case) -> str:
    receipt, lineage = case.the_receipt, need(case.lineage, "the adapter's manifest")
    header = need(case.index, "the contribution index").header
    if set(header.contributors) != lineage.contributors.keys():
        raise Wrong("the contribution index and the manifest name different contributors")
    if set(header.contributors) != receipt.evidence.scores.keys():
        odd = sorted(set(header.contributors) ^ receipt.evidence.scores.keys())
        raise Wrong(f"{odd[0]} is in the contribution index or in the receipt, and not in both")
    if header.placebos != len(receipt.evidence.placebos):
        raise Wrong(f"the index has {header.placebos} placebos, the receipt scores {len(receipt.evidence.placebos)}")
    return f"the {len(header.contributors)} contributors of the index are those that the receipt scores"


def _grade(case: Case) -> str:
    receipt = case.the_receipt
    if not receipt.grade:
        if receipt.evidence.trust_bps != BASIS_POINTS:
            raise Wrong("the scores are believed in part, and no grade says why")
        return "the scores are believed altogether"
    try:
        found = grades.parse(case.artifacts.get(receipt.grade))
    except (ArtifactError, ValueError) as error:
        raise Wrong(f"the grade that the receipt names cannot be read: {error}") from error
    must_equal({"model": (found.revision, receipt.model.adapter)}, "the grade", "the receipt")
    trust = grades.trust_bps(found, receipt.rule)
    must_equal({"trust": (trust, receipt.evidence.trust_bps)}, "what follows from the grade", "the receipt")
    lineage = need(case.lineage, "the adapter's manifest")
    follows = verify_grade.check(found, receipt.signer, lineage, case.artifacts)
    return (
        f"the scores are believed to {trust / 100:g} %, as follows from the model's grade, an agreement of "
        f"{found.mean_milli / 1000:.3f}; {follows}"
    )


STEPS: tuple[tuple[str, Step], ...] = (
    ("lineage", _lineage),
    ("files", _files),
    ("index", _index),
    ("contributors", _contributors),
    ("grade", _grade),
)
OF_A_COMBINATION: tuple[tuple[str, Step], ...] = (("combination", _combination),)
"""Also of an adapter that is the weighted sum of others."""
