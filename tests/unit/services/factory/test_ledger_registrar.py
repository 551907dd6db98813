from __future__ import annotations

import uuid
from datetime import UTC, datetime

import grpc
import pytest

from openledger import manifest
from openledger.client import ApiError
from openledger.ledger.v1 import ledger_pb2
from openledger.manifest import Base, LineageManifest, Snapshot
from services.factory.ledger_registrar import LedgerRegistrar, request_for
from services.factory.model import Metrics, Registration, Revision
from services.factory.registering import NotRegistered

KEY, OWNER = "0x" + "11" * 32, "0x" + "0a" * 20
SNAPSHOTS = (Snapshot("datanets/z/snapshots/2", "cc" * 32), Snapshot("datanets/a/snapshots/10", "dd" * 32))


@pytest.fixture
def revision():
    files = dict.fromkeys(manifest.FILES, "ff" * 32)
    lineage = manifest.sign(
        LineageManifest(
            adapter="letters",
            base=Base("tiny", "bb" * 32),
            files=files,
            index_root="ee" * 32,
            snapshots=SNAPSHOTS,
            spec={},
            contributors={OWNER: 3},
            owner=OWNER,
            metrics={},
            code="a test",
            licence="MIT",
            use="commercial",
        ),
        KEY,
    )
    metrics = Metrics(1, 0, {}, 1, 0.0, 0.0, 10, 1.0)
    return Revision(lineage.revision, "letters", "one", lineage.to_bytes(), metrics, datetime.now(UTC))


class Wire:
    """A client whose calls end as is written: an answer, or what is raised."""

    class ledger:  # noqa: N801 - as the client calls it
        RegisterRevision = "RegisterRevision"

    def __init__(self, *ends):
        self.ends, self.asked = list(ends), []

    async def call(self, method, request):
        assert method == "RegisterRevision"
        self.asked.append(request)
        return request.revision

    async def wait(self, service, operation, response, seconds):
        assert (service, response, seconds) == ("ledger", ledger_pb2.ModelRegistration, 7.0)
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


DONE = ledger_pb2.ModelRegistration(chain_id=1, contract="0xc0", transaction="0x01", block=9)
REFUSED = ApiError(grpc.StatusCode.FAILED_PRECONDITION, "REGISTRATION_REFUSED", "not anchored", {}, None)


def test_all_that_is_asked_is_in_the_manifest(revision):
    asked = request_for(revision, "an id")
    assert asked.revision == revision.name == f"adapters/letters/revisions/{manifest.parse(revision.manifest).digest}"
    assert (asked.index_root, asked.base_sha256) == ("ee" * 32, "bb" * 32)
    assert [(s.snapshot, s.root) for s in asked.snapshots] == [(s.name, s.root) for s in SNAPSHOTS]
    assert (asked.developer, asked.request_id) == (f"accounts/{OWNER}", "an id")


async def test_a_registration_is_where_the_ledger_says(revision):
    wire = Wire(DONE)
    assert await LedgerRegistrar(wire, 7.0).register(revision) == Registration(1, "0xc0", "0x01", 9)
    assert uuid.UUID(wire.asked[0].request_id)


async def test_a_slow_chain_is_waited_for_under_one_request(revision):
    wire = Wire(TimeoutError("not done after 7 s"), TimeoutError("not done after 7 s"), DONE)
    registrar = LedgerRegistrar(wire, 7.0)
    for _ in range(2):
        with pytest.raises(NotRegistered, match="TOO_SLOW"):
            await registrar.register(revision)
    await registrar.register(revision)
    assert len({request.request_id for request in wire.asked}) == 1


async def test_after_a_refusal_another_request_is_made(revision):
    wire = Wire(REFUSED, DONE)
    registrar = LedgerRegistrar(wire, 7.0)
    with pytest.raises(NotRegistered, match="REGISTRATION_REFUSED: not anchored"):
        await registrar.register(revision)
    await registrar.register(revision)
    assert len({request.request_id for request in wire.asked}) == 2
