"""What the ledger is told: the chain, whose words count, the split in force, and how long things may take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from openledger import mirror, names
from openledger.money import MAX_AMOUNT, OPEN
from openledger.split import Rule
from services.kit.config import ServiceConfig
from services.ledger.chain_follower import NOTED_SECONDS
from services.ledger.ether import Ether
from services.ledger.lease import Times
from services.ledger.registries import BASIS_POINTS, MIN_CONTRIBUTORS_BPS
from services.ledger.relay_limits import Limits
from services.ledger.signing import Patience

DEVELOPMENT_CHAINS = frozenset({1337, 31337})
SLOT_SECONDS = 12
"""From one block to the next, where that takes longest: on Ethereum.  Now and then one is missing."""

Address = Annotated[str, AfterValidator(names.address)]


def _address_or_empty(text: str) -> str:
    return names.address(text) if text else ""


def _url_or_empty(text: str) -> str:
    return mirror.location(text).geturl() if text else ""


RpcUrl = Annotated[str, Field(pattern="^https?://.+")]
OptionalAddress = Annotated[str, AfterValidator(_address_or_empty)]


class LedgerConfig(ServiceConfig):
    """Addresses are 0x hex, amounts atomic units, times seconds."""

    service: ClassVar[str] = "ledger"

    attribution: str = Field("", description="host:port of Attribution, whose receipts are journaled; empty: none are")
    attribution_signers: tuple[Address, ...] = Field((), description="whose signature makes a receipt count")
    platform: Address = Field(description="earns the platform's fees")
    operators: tuple[Address, ...] = Field((), description="may close epochs")

    rpc_url: RpcUrl = Field(description="the chain's JSON-RPC")
    rpc_witnesses: tuple[RpcUrl, ...] = Field(
        (), description="other nodes, which must say the same before anything counts; none: rpc_url is trusted"
    )
    chain_id: int = Field(31337, ge=1)
    public_rpc_url: str = Field("", description="told to clients; empty: rpc_url on a development chain, else nothing")
    artifacts_url: Annotated[str, AfterValidator(_url_or_empty)] = Field(
        "", description="told to anybody: where a web server shows the folder of artifacts; empty: nowhere"
    )
    confirmations: int = Field(
        0,
        ge=0,
        le=1000,
        description="blocks on top before an event or transaction counts; 0 on development chains alone",
    )
    quiet_chain: bool | None = Field(
        None,
        description="whether blocks come only when somebody sends something; None: so on development chains alone",
    )
    poll_seconds: float = Field(0.5, gt=0, description="how often the chain is looked at")
    relay_wait_seconds: float = Field(30, gt=0, description="how long a relayed call waits to be mined and credited")

    relay_min_deposit: int = Field(OPEN // 100, ge=0, le=MAX_AMOUNT, description="the least deposit that is relayed")
    relay_min_claim: int = Field(OPEN // 100_000, ge=0, le=MAX_AMOUNT, description="the least claim that is relayed")
    relay_gas_per_day: int = Field(10_000_000, ge=0, description="gas that the relayer pays for one account in a day")

    pen_seconds: float = Field(
        15, gt=0, description="how long a process that falls silent keeps others from sending in its stead"
    )
    max_fee_gwei: int = Field(500, ge=1, le=10**9, description="the most that is ever offered for a unit of gas")
    stuck_seconds: float = Field(60, ge=0, description="after which a transaction that is not mined offers more")
    gas_bound_percent: int = Field(
        100,
        ge=100,
        le=10_000,
        description="of the most gas that a kind of transaction may take on Ethereum: more where gas pays for another "
        "chain, too",
    )

    ether_price: str = Field(
        "",
        pattern=r"^([0-9]{1,12}(\.[0-9]{1,6})?)?$",
        description="of an ether, for telling what gas costs; empty: not told",
    )
    ether_currency: str = Field("USD", pattern="^[A-Z]{3,5}$", description="of which money `ether_price` is")

    operator_key_file: Path | None = Field(
        None, description="the sender's private key, or a keystore that holds it; None: made in data_dir"
    )
    operator_password_file: Path | None = Field(None, description="has the keystore's password")
    operator_password: SecretStr | None = Field(None, description="the keystore's password, where it is in no file")
    signer_url: str = Field(
        "", pattern="^(https?://.+)?$", description="a signing service that has the key instead (JSON-RPC)"
    )
    signer_address: OptionalAddress = Field("", description="of the account by which the signing service signs")
    session_key_file: Path | None = Field(
        None, description="signs sessions (PEM, Ed25519); None: sessions.pem in data_dir, made if it is not there"
    )
    contracts_file: Path | None = Field(None, description="where the contracts are; None: contracts.json in data_dir")
    deploy_contracts: bool = Field(
        True, description="create those that are not in the file; on development chains alone"
    )
    treasury: OptionalAddress = Field("", description="gets all OPEN of a deployment; empty: the sender")
    guardian: OptionalAddress = Field("", description="can veto roots; empty: the sender")
    arbiter: OptionalAddress = Field("", description="decides challenges of roots; empty: the guardian")
    supply: int = Field(1_000_000_000 * OPEN, ge=1, le=MAX_AMOUNT, description="OPEN minted by a deployment")
    challenge_window_seconds: int = Field(
        86_400, ge=1, le=2**31, description="in which a proposed root can be vetoed and challenged"
    )
    verdict_seconds: int = Field(7 * 86_400, ge=1, le=2**31, description="in which the arbiter decides a challenge")
    challenge_bond: int = Field(1_000 * OPEN, ge=1, le=MAX_AMOUNT, description="put at stake by whoever challenges")
    max_epoch_increase: int = Field(
        10_000_000 * OPEN, ge=1, le=MAX_AMOUNT, description="the most that one root may add to what is promised"
    )
    withdraw_delay_seconds: int = Field(7 * 86_400, ge=0, le=2**31, description="from asking to getting it")
    split_delay_seconds: int = Field(
        7 * 86_400, ge=1, le=2**31, description="from announcing another split of a revision to making the change"
    )
    split_lag_seconds: int = Field(
        3600,
        ge=60,
        le=7 * 86_400,
        description="around a change of a split, in which an answer may be paid by either: for blocks to count, and "
        "for clocks that differ",
    )

    developer_bps: int = Field(Rule.developer_bps, ge=0, le=10_000)
    stakers_bps: int = Field(Rule.stakers_bps, ge=0, le=10_000)
    noise_z_milli: int = Field(Rule.noise_z_milli, ge=0, le=5_000)
    cap_bps: int = Field(Rule.cap_bps, ge=0, le=10_000)
    floor_milli: int = Field(Rule.floor_milli, ge=0, le=1_000)

    lease_seconds: int = Field(3600, ge=1, description="how long a lease lasts")
    lease_grace_seconds: int = Field(600, ge=0, description="after its end, for receipts still on their way")
    redeem_seconds: int = Field(
        6 * 3600, ge=0, description="an authorisation must outlive a lease by this, to be redeemed"
    )
    redeem_batch: int = Field(50, ge=1, le=200, description="payers redeemed in one transaction")

    wallet_credit: int = Field(
        OPEN, ge=0, le=MAX_AMOUNT, description="what a contract wallet may owe before it is redeemed without an epoch"
    )

    claim_fee: int = Field(
        0, ge=0, le=MAX_AMOUNT, description="what the relayer keeps of a claim that is paid elsewhere by signature"
    )

    keep_documents_epochs: int = Field(
        52,
        ge=1,
        description="epochs whose receipts' documents stay in the database too, the newest that pays among them",
    )

    check_seconds: float = Field(
        3600,
        gt=0,
        description="how often every book is compared with what its postings sum to; only new ones are added",
    )
    check_whole_seconds: float = Field(86_400, gt=0, description="how often all postings there are are added anew")

    close_epochs_seconds: int = Field(
        86_400, ge=0, description="after which an epoch is closed where no operator did; 0: never"
    )
    conservation_seconds: float = Field(60, ge=0, description="how old the sums may be that anybody can ask for")

    sign_in_domain: str = Field("openledger.local", min_length=1, max_length=255, pattern=r"^[^\s/?#]+$")
    sign_in_uri: str = Field("https://openledger.local", min_length=1, max_length=500, pattern=r"^\S+$")
    session_seconds: int = Field(900, ge=60, le=86_400)
    challenge_seconds: int = Field(300, ge=1, le=3600, description="how long a sign-in message can be used")

    @property
    def rule(self) -> Rule:
        """The split in force."""
        return Rule(**{name: getattr(self, name) for name in Rule().to_json()})

    @property
    def times(self) -> Times:
        """How long leases last."""
        return Times(self.lease_seconds, self.lease_grace_seconds, self.redeem_seconds)

    @property
    def may_deploy(self) -> bool:
        """Whether contracts may be created by this process: a real chain's are deployed by people, on purpose."""
        return self.deploy_contracts and self.chain_id in DEVELOPMENT_CHAINS

    @property
    def quiet(self) -> bool:
        """Whether the chain has new blocks only when somebody sends something."""
        return self.chain_id in DEVELOPMENT_CHAINS if self.quiet_chain is None else self.quiet_chain

    @property
    def patience(self) -> Patience:
        """With transactions that do not get mined."""
        return Patience(self.max_fee_gwei * 10**9, self.stuck_seconds, self.gas_bound_percent)

    @property
    def ether(self) -> Ether | None:
        """What an ether is worth, if the operator says so."""
        return Ether(self.ether_price, self.ether_currency) if self.ether_price else None

    @property
    def relay_limits(self) -> Limits:
        """What the relayer pays gas for."""
        return Limits(deposit=self.relay_min_deposit, claim=self.relay_min_claim, gas=self.relay_gas_per_day)

    @property
    def told_rpc_url(self) -> str:
        """Where clients can ask the chain; empty when that is nobody's business."""
        return self.public_rpc_url or (self.rpc_url if self.chain_id in DEVELOPMENT_CHAINS else "")

    @property
    def key_file(self) -> Path:
        """The sender's private key."""
        return self.operator_key_file or self.data_dir / "operator.key"

    @property
    def session_key(self) -> Path:
        """The key that signs sessions."""
        return self.session_key_file or self.data_dir / "sessions.pem"

    @property
    def deployment(self) -> Path:
        """The deployment file."""
        return self.contracts_file or self.data_dir / "contracts.json"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.developer_bps + self.stakers_bps > 10_000:
            raise ValueError("developer_bps and stakers_bps together are more than everything")
        if self.developer_bps + self.stakers_bps > BASIS_POINTS - MIN_CONTRIBUTORS_BPS:
            raise ValueError(
                f"developer_bps and stakers_bps leave the contributors less than the {MIN_CONTRIBUTORS_BPS} basis "
                "points that ModelRegistry keeps for them: no revision could be registered"
            )
        if self.attribution and not self.attribution_signers:
            raise ValueError("attribution_signers must name whose receipts count when attribution is set")
        if bool(self.signer_url) is not bool(self.signer_address):
            raise ValueError("signer_url and signer_address go together: where the key is, and whose it is")
        if self.signer_url and (self.operator_key_file or self.operator_password_file or self.operator_password):
            raise ValueError("the sender's key is with signer_url or in operator_key_file, not in both")
        if self.operator_password_file and self.operator_password:
            raise ValueError("operator_password_file and operator_password are two: which one is it?")
        return self

    @model_validator(mode="after")
    def _fits_the_chain(self) -> Self:
        if not self.confirmations and self.chain_id not in DEVELOPMENT_CHAINS:
            raise ValueError(
                f"confirmations: the newest blocks of chain {self.chain_id} may be taken back: say how many must be on "
                "top of one before what is in it counts, at least 1 (12 on Ethereum)"
            )
        least = math.ceil(2 * (self.poll_seconds + NOTED_SECONDS + (0 if self.quiet else 2 * SLOT_SECONDS)))
        if self.split_lag_seconds < least:
            raise ValueError(
                f"split_lag_seconds: half of {self.split_lag_seconds} s is less than passes from one look at the chain "
                f"to the next, so that again and again no split would be known: make it at least {least}, or "
                "poll_seconds less"
            )
        leased = self.lease_seconds + self.lease_grace_seconds
        if self.withdraw_delay_seconds < leased and self.chain_id not in DEVELOPMENT_CHAINS:
            raise ValueError(
                f"withdraw_delay_seconds: a payer could take out what a lease sets aside for {leased} s, before the "
                "receipts come that are paid from it: make it longer than lease_seconds and lease_grace_seconds"
            )
        return self
