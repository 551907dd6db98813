"""`openledger datanet prove, consistency`: fetches proofs that anybody checks offline with `openledger verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openledger import names
from openledger.cli.connection import Json, run
from openledger.cli.datanet.snapshots import snapshot_name, snapshots_of
from openledger.datanet.v1 import datanet_pb2 as pb

if TYPE_CHECKING:
    from openledger.snapshots.documents import Entry
    from openledger.snapshots.proofs import ConsistencyProof, Proof, RecordProof, SnapshotProof

Out = Annotated[Path | None, typer.Option("--out", help="Where the proof is written; by default a file named here.")]
Snapshot = Annotated[str, typer.Argument(help="datanets/<id>/snapshots/<version>, or <id>@<version>.")]


def prove(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="RECORD", help="A record's name, or a snapshot's: <id>@<version>.")],
    at: Annotated[
        int | None, typer.Option("--at", min=1, help="In this snapshot; by default the newest with it.")
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fetch the proof that a record is in a snapshot; or that a snapshot is in its datanet's log.

    Example: openledger datanet prove datanets/rare-terms/records/0f3a...
    """

    async def work() -> tuple[Proof, str]:
        async with context.obj.client() as client:
            if "/records/" not in what:
                name = snapshot_name(what)
                return await snapshot_proof(client, name, at or 0), _file(name)
            return await _record(client, what, at), what.rpartition("/")[2]

    proof, name = run(work)
    _write(proof, out or Path(f"{name}.proof.json"), as_json=as_json)


def consistency(context: typer.Context, old: Snapshot, new: Snapshot, out: Out = None, as_json: Json = False) -> None:
    """Fetch the proof that a datanet's log of snapshots only grew from one snapshot to a later one.

    Example: openledger datanet consistency rare-terms@1 rare-terms@3
    """

    async def work() -> ConsistencyProof:
        async with context.obj.client() as client:
            return await _consistency(client, snapshot_name(old), snapshot_name(new))

    proof = run(work)
    _write(proof, out or Path(f"{_file(snapshot_name(old))}-{proof.new.number}.proof.json"), as_json=as_json)


async def snapshot_proof(client: Any, snapshot: str, size: int = 0) -> SnapshotProof:
    """That a snapshot is in the log of so many; 0 for all.  Raises `ApiError`, `ValueError` where it does not hold."""
    from openledger.snapshots.proofs import SnapshotProof

    found = await _logged(client, snapshot, size)
    datanet = snapshot.rpartition("/snapshots/")[0]
    last = await _logged(client, f"{datanet}/snapshots/{found.size}", found.size)
    return SnapshotProof(
        snapshot=_entry(found),
        last=_entry(last),
        path=_hex(found.path),
        last_path=_hex(last.path),
        log_root=found.log_root.hex(),
    )


async def _record(client: Any, record: str, at: int | None) -> RecordProof:
    from openledger.snapshots.proofs import Opened, RecordProof

    said = await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=record))
    found = await _inclusion(client, record, at)
    logged = await _logged(client, found.snapshot, int(found.snapshot.rpartition("/")[2]))
    opened = Opened(contributor=names.account_address(said.contributor), fields=dict(said.fields), source=said.source)
    return RecordProof(
        record=opened if found.salt else None,
        salt=found.salt.hex() or None,
        commitment=found.commitment.hex(),
        leaf=found.leaf,
        path=_hex(found.path),
        snapshot=_entry(logged),
        log_path=_hex(logged.path),
        log_root=logged.log_root.hex(),
    )


async def _inclusion(client: Any, record: str, at: int | None) -> pb.InclusionProof:
    """In that snapshot, or in the newest that has it."""
    from openledger.client import ApiError

    datanet, _ = names.match("datanets/*/records/*", record)
    if at is not None:
        snapshots = [f"datanets/{datanet}/snapshots/{at}"]
    else:
        snapshots = [found.name async for found in snapshots_of(client, f"datanets/{datanet}")]
    last: ApiError | None = None
    for snapshot in snapshots:
        request = pb.GetInclusionProofRequest(snapshot=snapshot, record=record)
        try:
            return await client.call(client.datanet.GetInclusionProof, request)  # type: ignore[no-any-return]
        except ApiError as error:
            if error.reason != "RECORD_NOT_IN_SNAPSHOT":
                raise
            last = error
    raise last or ValueError(f"datanets/{datanet} has no snapshot yet")


async def _consistency(client: Any, old: str, new: str) -> ConsistencyProof:
    from openledger.snapshots.proofs import ConsistencyProof

    (datanet, before), (_, after) = (names.match("datanets/*/snapshots/*", name) for name in (old, new))
    request = pb.GetConsistencyProofRequest(parent=f"datanets/{datanet}", old_size=int(before), new_size=int(after))
    grown = await client.call(client.datanet.GetConsistencyProof, request)
    first, last = await _logged(client, old, int(before)), await _logged(client, new, int(after))
    return ConsistencyProof(
        old=_entry(first),
        new=_entry(last),
        old_path=_hex(first.path),
        new_path=_hex(last.path),
        old_root=grown.old_root.hex(),
        new_root=grown.new_root.hex(),
        path=_hex(grown.path),
    )


async def _logged(client: Any, snapshot: str, size: int) -> pb.SnapshotProof:
    request = pb.GetSnapshotProofRequest(snapshot=snapshot, size=size)
    return await client.call(client.datanet.GetSnapshotProof, request)  # type: ignore[no-any-return]


def _entry(proof: pb.SnapshotProof) -> Entry:
    from openledger.snapshots.documents import Entry

    return Entry.from_bytes(proof.leaf)


def _hex(path: Any) -> list[str]:
    return [digest.hex() for digest in path]


def _file(snapshot: str) -> str:
    return "-".join(names.match("datanets/*/snapshots/*", snapshot))


def _write(proof: Proof, out: Path, *, as_json: bool) -> None:
    """Writes what holds, and nothing else."""
    try:
        words = proof.check()
        out.write_bytes(proof.to_bytes())
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    if as_json:
        sys.stdout.write(json.dumps({"file": str(out), "words": words}, indent=2) + "\n")
        return
    kind = proof.version.removeprefix("openledger.").partition("-")[0]
    typer.echo(f"{words}.\n{out}: check it anywhere with `openledger verify {kind} {out}`")
