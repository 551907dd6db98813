"""Attribution over real gRPC: what cannot be attributed is put aside, each with its reason."""

from __future__ import annotations

import grpc
from safetensors.numpy import load_file, save

from openledger import trace_proto
from openledger.artifacts import ArtifactStore
from openledger.openlora.v1 import openlora_pb2
from services.attribution import score
from services.kit.testing import as_service
from tests.attribution_world import (
    PAYER,
    STRANGER,
    Artifacts,
    attribution,
    counted,
    dead_letters,
    read,
    refusal,
    revised,
)


def damage(store: ArtifactStore, digest: str) -> None:
    file = store.root / "sha256" / digest[:2] / digest
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")


def with_weights(artifacts: Artifacts, factor: float) -> str:
    """Publish the adapter with its weights multiplied; the name of its revision."""
    file = artifacts.store.path(artifacts.lineage.files["adapter_model.safetensors"])
    scaled = save({name: tensor * factor for name, tensor in load_file(file).items()}, metadata={"format": "pt"})
    files = {**artifacts.lineage.files, "adapter_model.safetensors": artifacts.store.put(scaled)}
    return revised(artifacts, files=files)


def with_damaged_index(artifacts: Artifacts) -> str:
    copy = bytearray(artifacts.store.get(artifacts.lineage.files["contribution_index.safetensors"]))
    copy[-1] ^= 1
    digest = artifacts.store.put(bytes(copy))
    name = revised(artifacts, files={**artifacts.lineage.files, "contribution_index.safetensors": digest})
    damage(artifacts.store, digest)
    return name


UNKNOWN = "adapters/tiny/revisions/" + "5" * 64
BAD = {
    "UNKNOWN_MODEL": lambda a: {"adapter": UNKNOWN},
    "OTHER_BASE": lambda a: {"base_sha256": "5" * 64},
    "EMPTY_ANSWER": lambda a: {"completion_token_ids": ()},
    "TOKEN_OUTSIDE_VOCABULARY": lambda a: {"completion_token_ids": (5, 100_000)},
    "TOO_LONG": lambda a: {"completion_token_ids": (5,) * 200},
    "NOT_FINITE": lambda a: {"adapter": with_weights(a, 1e30)},
    "ADAPTER_UNUSABLE": lambda a: {"adapter": with_weights(a, float("nan"))},
    "ARTIFACT_DAMAGED": lambda a: {"adapter": with_damaged_index(a)},
    "INDEX_ROOT_MISMATCH": lambda a: {"adapter": revised(a, index_root="5" * 64)},
    "BAD_FEE": lambda a: {"fee": 1, "platform_fee": 2},
}


async def test_what_cannot_be_attributed_is_put_aside_with_its_reason_and_the_others_go_on(around):
    artifacts, numbers = around.artifacts, {}
    for number, (reason, changes) in enumerate(BAD.items()):
        numbers[reason] = f"r{10 * number}"
        around.peers.add(artifacts.trace(10 * number, **changes(artifacts)), artifacts.trace(10 * number + 1))
    no_trace = trace_proto.to_proto(artifacts.trace(500))
    no_trace.fee = "a lot"
    nameless = openlora_pb2.Trace(response="\0", payer="\0")
    of_other = f"adapters/other/revisions/{artifacts.lineage.digest}"
    around.peers.add(no_trace, nameless, artifacts.trace(501, adapter=of_other), artifacts.trace(502))
    async with attribution(around) as (where, assembly), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, len(BAD) + 1)
        letters = await dead_letters(around, where, len(BAD) + 3)
        for reason, key in numbers.items():
            error = await refusal(around, PAYER, where, key)
            assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEAD_LETTERED")
            assert error.metadata["why"] == reason
            assert "nobody is charged" in error.message
        assert (await refusal(around, STRANGER, where, numbers["TOO_LONG"])).reason == "RECEIPT_NOT_FOUND"
    assert [e.receipt.response for e in entries] == [f"responses/r{10 * n + 1}" for n in range(len(BAD))] + [
        "responses/r502"
    ]
    assert {key: letters[key].reason for key in numbers.values()} == {key: reason for reason, key in numbers.items()}
    assert letters["r500"].reason == "BAD_TRACE"
    assert "a lot" in letters["r500"].message
    assert letters[f"~{2 * len(BAD) + 2}"].reason == "BAD_TRACE"
    assert letters["r501"].reason == "UNKNOWN_MODEL"
    assert len(letters) == len(BAD) + 3
    expected = dict.fromkeys(BAD, 1) | {"BAD_TRACE": 2, "UNKNOWN_MODEL": 2}
    assert counted(assembly, "dead_letters_total") == expected
    assert counted(assembly, "receipts_total") == {"": len(entries)}
    assert counted(assembly, "scoring_cpu_seconds_total")[""] > 0


async def test_what_fails_for_no_known_reason_is_tried_once_again_before_it_is_put_aside(around, monkeypatch):
    measure, failures = score.evidence.measure, {"responses/r1": 1, "responses/r2": 2}

    def failing(scorer, trace, *rest):
        if failures.get(trace.response):
            failures[trace.response] -= 1
            raise RuntimeError("sizes do not match")
        return measure(scorer, trace, *rest)

    monkeypatch.setattr(score.evidence, "measure", failing)
    around.peers.add(*(around.artifacts.trace(number) for number in (1, 2, 3)))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 2)
        letters = await dead_letters(around, where, 1)
    assert [e.receipt.response for e in entries] == ["responses/r1", "responses/r3"]
    assert (letters["r2"].reason, letters["r2"].message) == ("MEASUREMENT_FAILED", "RuntimeError: sizes do not match")
    assert set(failures.values()) == {0}
