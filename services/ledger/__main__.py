"""The ledger service: `python -m services.ledger`, configured by OPENLEDGER_LEDGER_* (see `config`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from google.longrunning import operations_pb2_grpc

from openledger.artifacts import ArtifactStore
from openledger.client import Client
from openledger.identity.v1 import identity_pb2_grpc
from openledger.key_files import KeyFileError
from openledger.ledger.v1 import ledger_pb2_grpc
from services.kit.auth import ACCOUNTS, PUBLIC, Access, Authenticator, services
from services.kit.config import load_or_exit
from services.kit.database import Database
from services.kit.idempotency import Idempotency
from services.kit.metrics import Metrics
from services.kit.operations import Operations
from services.kit.peers import peer_client
from services.kit.server import Assembly, StartError, main
from services.kit.stalled import Stalled
from services.ledger import admit, consume, keys
from services.ledger.anchor import Anchors
from services.ledger.bundle import Bundles
from services.ledger.chain import Chain, ChainError, ChainUnavailable
from services.ledger.chain_follower import ChainFollower
from services.ledger.chain_quorum import Quorum
from services.ledger.chain_rpc import open_chain
from services.ledger.chain_writer import ChainWriter
from services.ledger.checks import Checks
from services.ledger.claims_book import ClaimsBook
from services.ledger.closing import Closing
from services.ledger.config import LedgerConfig
from services.ledger.consume import Receipts
from services.ledger.debts import Debts
from services.ledger.errands import Errands
from services.ledger.gas_price import GasPrices
from services.ledger.identity_servicer import IdentityServicer
from services.ledger.pen import Pen, holder
from services.ledger.read_ago import ReadAgo
from services.ledger.reconcile import Reconciliation
from services.ledger.register import Registrations
from services.ledger.relay import Relay
from services.ledger.reports import Reports
from services.ledger.retention import Retention
from services.ledger.schedule import Schedule
from services.ledger.servicer import LedgerServicer, Parts
from services.ledger.settler import Settler
from services.ledger.signer import RemoteSigner, Signer, SignerRefused, SignerUnavailable
from services.ledger.signin import Issuer, Site
from services.ledger.split_book import SplitBook
from services.ledger.store import epochs, receipts_read
from services.ledger.store import terms as published_terms
from services.ledger.store.epochs import Anchoring
from services.ledger.store.registrations import Registration
from services.ledger.store.tables import METADATA
from services.ledger.sums import Sums
from services.ledger.terms import SETTINGS, terms_of

ACCESS: dict[str, Access] = {
    **dict.fromkeys(("CreateChallenge", "CreateSession", "ListKeys"), PUBLIC),
    **dict.fromkeys(("GetSettlementInfo", "GetConservation", "GetEpoch", "ListEpochs", "GetClaim"), PUBLIC),
    **dict.fromkeys(("GetModelRegistration", "GetSplit", "ListSplits", "ListEpochPayouts", "GetGasPrice"), PUBLIC),
    **dict.fromkeys(("GetBalance", "ListPostings", "GetPayout", "RelayDeposit", "AuthoriseSpending"), ACCOUNTS),
    **dict.fromkeys(("RelayAuthorisedDeposit", "RelayClaim", "RelaySignedClaim", "RelayTransfer"), ACCOUNTS),
    **dict.fromkeys(("CloseEpoch", "CorrectJournal"), ACCOUNTS),
    **dict.fromkeys(("AcquireLease", "ReleaseLease"), services("openlora")),
    "AnchorSnapshot": services("datanet"),
    "RegisterRevision": services("factory"),
    **dict.fromkeys(("GetOperation", "WaitOperation"), services("datanet", "factory", accounts=True)),
}


async def assemble(config: LedgerConfig) -> Assembly:
    """The service, put together.  Raises `StartError` when keys, chain or database are not as they must be."""
    signer, issuer = await asyncio.to_thread(_keys, config)
    chain, last_epoch, most = await asyncio.to_thread(_chain, config, signer)
    database, metrics = Database(config.database), Metrics(config.service)
    database.migrate(Path(__file__).parent / "migrations")
    _check_place(database, last_epoch)
    database.write_now(lambda c: published_terms.publish(c, config.rule, config.platform, consume.SOURCE))
    confirmations, poll = config.confirmations, config.poll_seconds
    name, turn = holder(config.data_dir), config.pen_seconds
    pen = Pen(database, signer.address.lower(), name, metrics, seconds=turn)
    pen.take()
    how: Any = {"confirmations": confirmations, "poll_seconds": poll}
    writer = ChainWriter(database, chain, signer, pen, metrics, patience=config.patience, **how)
    follower = ChainFollower(database, chain, pen, metrics, quiet=config.quiet, **how)
    operations = Operations(database, METADATA, config.service)
    splits = SplitBook(database, chain.contracts.escrow, config.rule, lag=config.split_lag_seconds)
    ago = ReadAgo(database, chain.contracts.escrow, metrics, lag=config.split_lag_seconds)
    work, artifacts = config.data_dir / "bundle", ArtifactStore(config.artifacts_dir)
    bundles = Bundles(database, chain, artifacts, metrics, work, most=most, lag=config.split_lag_seconds)
    checks = Checks(database, metrics, seconds=config.check_seconds, whole_seconds=config.check_whole_seconds)
    reconciliation = Reconciliation(database, chain, metrics)
    settler = Settler(
        database,
        chain,
        writer,
        pen,
        operations,
        bundles,
        metrics,
        checks,
        reconciliation,
        most=most,
        room=config.redeem_seconds,
        credit=config.wallet_credit,
        **how,
    )
    errands = (
        Errands(database, writer, pen, operations, Anchors(chain), poll_seconds=poll),
        Errands(database, writer, pen, operations, Registrations(chain), poll_seconds=poll),
    )
    client, receipts = _receipts(config, database, chain, metrics, pen, follower.debts, splits)
    closing = Closing(
        database,
        chain,
        settler,
        operations,
        Idempotency(METADATA),
        metrics,
        batch=config.redeem_batch,
        most=most,
        checks=checks,
    )
    parts = _parts(config, database, chain, writer, follower, closing, errands, receipts, splits, checks)
    background: dict[str, Callable[[], Awaitable[None]]] = {
        "pen": pen.run,
        "stalled": Stalled(database).run,
        "read-ago": ago.run,
        "chain-writer": pen.only(writer.run),
        "chain-follower": pen.only(follower.run),
        "settler": pen.only(settler.run),
        "schedule": pen.only(Schedule(database, closing, seconds=config.close_epochs_seconds).run),
        "checks": checks.run,
        "whole-checks": pen.only(checks.run_whole),
        "reconciliation": reconciliation.run,
        "retention": pen.only(Retention(database, artifacts, pen, keep=config.keep_documents_epochs).run),
        "anchorings": pen.only(parts.anchorings.run),
        "registrations": pen.only(parts.registrations.run),
        "receipts": pen.only(receipts.run if receipts else partial(consume.read_none, database, pen)),
    }
    return Assembly(
        config=config,
        services=_services(LedgerServicer(parts), _identity(config, database, chain, issuer), operations),
        access=ACCESS,
        authenticator=_authenticator(config, issuer),
        metrics=metrics,
        background=background,
        close=[
            *([partial(client.__aexit__, None, None, None)] if client else []),
            pen.drop,
            database.close,
            chain.close,
        ],
    )


def _parts(
    config: LedgerConfig,
    database: Database,
    chain: Chain,
    writer: ChainWriter,
    follower: ChainFollower,
    closing: Closing,
    errands: tuple[Errands[Anchoring], Errands[Registration]],
    receipts: Receipts | None,
    splits: SplitBook,
    checks: Checks,
) -> Parts:
    idempotency, claims = Idempotency(METADATA), ClaimsBook(database, chain)
    return Parts(
        config=config,
        database=database,
        chain=chain,
        idempotency=idempotency,
        receipts=receipts,
        splits=splits,
        relay=Relay(
            database,
            chain,
            writer,
            follower,
            claims,
            idempotency,
            wait_seconds=config.relay_wait_seconds,
            claim_fee=config.claim_fee,
            limits=config.relay_limits,
        ),
        claims=claims,
        anchorings=errands[0],
        registrations=errands[1],
        closing=closing,
        reports=Reports(database, outlive=config.times.outlive),
        gas=GasPrices(chain, config.ether, most=config.patience.max_fee, seconds=max(1.0, config.poll_seconds)),
        conservation=Sums(database, checks, seconds=config.conservation_seconds),
    )


def _keys(config: LedgerConfig) -> tuple[Signer, Issuer]:
    try:
        return _signer(config), Issuer(keys.session_key(config.session_key))
    except (KeyFileError, SignerRefused, SignerUnavailable, OSError) as error:
        raise StartError(str(error)) from error


def _signer(config: LedgerConfig) -> Signer:
    """Who signs for the sender.  Raises `KeyFileError`, `SignerRefused`, `SignerUnavailable`, and `OSError`."""
    if not config.signer_url:
        secret = keys.password(config.operator_password_file, config.operator_password)
        return keys.account(config.key_file, secret)
    signer = RemoteSigner(config.signer_url, config.signer_address)
    signer.check()
    return signer


def _chain(config: LedgerConfig, signer: Signer) -> tuple[Chain, int, int]:
    """The chain, the newest epoch on it, and what a root may add to the one before."""
    if not config.may_deploy and not config.deployment.is_file():
        raise StartError(
            f"{config.deployment} does not say where the contracts are, and this process may not create them on chain "
            f"{config.chain_id}: name the file of a deployment in OPENLEDGER_LEDGER_CONTRACTS_FILE (openledger deploy "
            "makes one)"
        )
    sender = signer.address.lower()
    terms = terms_of({name: getattr(config, name) for name in SETTINGS}, sender)
    try:
        create = config.may_deploy
        chain = open_chain(config.rpc_url, config.chain_id, signer, terms, config.deployment, create=create)
        if config.rpc_witnesses:
            chain = Quorum.connect_all(chain, config.rpc_witnesses)
        return chain, chain.last_epoch(), chain.max_epoch_increase()
    except ChainUnavailable as error:
        raise StartError(
            f"the chain at {config.rpc_url} cannot be reached ({error}): start it, or set OPENLEDGER_LEDGER_RPC_URL"
        ) from error
    except ChainError as error:
        raise StartError(f"the chain at {config.rpc_url} cannot be used: {error} (sender {sender})") from error


def _check_place(database: Database, there: int) -> None:
    """A database that knows less than the chain is an old copy, or another's: its roots would take money away."""
    newest = database.read_now(epochs.newest)
    here = newest.number if newest else 0
    if there > here:
        raise StartError(
            f"the chain holds epoch {there} and this database ends at {here}: it is an old copy or belongs to other "
            "contracts. Restore the newest database, or use contracts of its own"
        )


def _receipts(
    config: LedgerConfig, database: Database, chain: Chain, metrics: Metrics, pen: Pen, debts: Debts, splits: SplitBook
) -> tuple[Client | None, Receipts | None]:
    if not config.attribution:
        return None, None
    database.write_now(lambda c: receipts_read.begin(c, consume.SOURCE, time.time()))
    client = peer_client(config, attribution=config.attribution)
    terms = admit.Terms(frozenset(config.attribution_signers), config.rule, config.platform)
    how: Any = {"room": config.redeem_seconds, "block_time": lambda: chain.head().timestamp}
    return client, Receipts(database, client, terms, metrics, pen, debts, splits, **how)


def _identity(config: LedgerConfig, database: Database, chain: Chain, issuer: Issuer) -> IdentityServicer:
    site = Site(config.sign_in_domain, config.sign_in_uri, config.chain_id)
    return IdentityServicer(
        database, chain, issuer, site, challenge=config.challenge_seconds, session=config.session_seconds
    )


def _authenticator(config: LedgerConfig, issuer: Issuer) -> Authenticator:
    async def own_keys() -> str:
        return issuer.jwks

    secret, *also = config.secrets
    return Authenticator(secret, own_keys, *also)


def _services(ledger: LedgerServicer, identity: IdentityServicer, operations: Operations) -> dict[str, Any]:
    return {
        "openledger.ledger.v1.LedgerService": partial(ledger_pb2_grpc.add_LedgerServiceServicer_to_server, ledger),
        "openledger.identity.v1.IdentityService": partial(
            identity_pb2_grpc.add_IdentityServiceServicer_to_server, identity
        ),
        "google.longrunning.Operations": partial(operations_pb2_grpc.add_OperationsServicer_to_server, operations),
    }


if __name__ == "__main__":
    raise SystemExit(main(load_or_exit(LedgerConfig), assemble))
