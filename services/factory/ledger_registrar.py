"""The registrar over the Ledger's RPC: what a published revision was made from, written on chain.

The ledger knows a revision by its digest: asked again under whatever request id, it names the operation that is under
way or done.  So no request id has to outlive this process.  One that was refused is not used again: it would get the
same answer, and what was refused may be mended by then.
"""

from __future__ import annotations

import uuid

from openledger import canonical, manifest, names
from openledger.client import ApiError, Client
from openledger.ledger.v1 import ledger_pb2
from services.factory.model import Registration, Revision
from services.factory.registering import NotRegistered


class LedgerRegistrar:
    """`services.factory.registering.Registrar`.  seconds: how long one try waits for the chain."""

    def __init__(self, ledger: Client, seconds: float) -> None:
        self._ledger, self._seconds = ledger, seconds
        self._asked: dict[str, str] = {}

    async def register(self, revision: Revision) -> Registration:
        """See `Registrar.register`."""
        request = request_for(revision, self._asked.setdefault(revision.name, str(uuid.uuid4())))
        try:
            operation = await self._ledger.call(self._ledger.ledger.RegisterRevision, request)
            done = await self._ledger.wait("ledger", operation, ledger_pb2.ModelRegistration, self._seconds)
        except TimeoutError as error:
            raise NotRegistered(f"TOO_SLOW: {error}") from None
        except ApiError as error:
            del self._asked[revision.name]
            raise NotRegistered(str(error)) from None
        del self._asked[revision.name]
        return Registration(done.chain_id, done.contract, done.transaction, done.block)


def request_for(revision: Revision, request_id: str) -> ledger_pb2.RegisterRevisionRequest:
    """What the ledger is asked: all of it is in the revision's manifest."""
    lineage = manifest.from_json(canonical.parse_json(revision.manifest))  # our own: its signature was made here
    return ledger_pb2.RegisterRevisionRequest(
        revision=revision.name,
        index_root=lineage.index_root,
        base_sha256=lineage.base.sha256,
        snapshots=[ledger_pb2.RevisionSnapshot(snapshot=made.name, root=made.root) for made in lineage.snapshots],
        developer=names.account(lineage.owner),
        request_id=request_id,
    )
