"""What the service is about: datanets, records, snapshots.  Plain values; times are microseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from openledger import names
from services.kit.errors import not_found


@dataclass(frozen=True)
class Field:
    """A named text of every record."""

    id: str
    description: str = ""
    required: bool = False


class RecordState(StrEnum):
    """Where a record stands.

    Screened: it waits for its contributor's word on personal data that was found in it, and is shown to no other.
    Withdrawn: in no later snapshot.  Erased: nothing of what it says is there any more.
    """

    SCREENED = "screened"
    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"
    ERASED = "erased"


class Kind(StrEnum):
    """What a datanet's records are."""

    TEXT = "text"
    IMAGE = "image"


class Visibility(StrEnum):
    """Who may contribute: anyone, who asked and was let in, who was invited.  No other knows of a private datanet."""

    PUBLIC = "public"
    BY_REQUEST = "by_request"
    PRIVATE = "private"


class PersonalData(StrEnum):
    """What happens to personal data that is found in a record; with `IGNORE` it is not looked for."""

    IGNORE = "ignore"
    MASK = "mask"
    ASK = "ask"
    REFUSE = "refuse"


class Duplicates(StrEnum):
    """What happens to a record that is nearly an earlier one of somebody else's; with `IGNORE` it is not looked for."""

    IGNORE = "ignore"
    REFUSE = "refuse"
    CREDIT = "credit"


@dataclass(frozen=True)
class Policy:
    """The owner's rules.  Zeros set no bound.

    Lengths are characters of a record's text, all fields together; `languages` are BCP 47 tags, none for all;
    `reviews` of at most `reviewers` must agree within `review_days`; shares are in hundredths of a percent; with
    `quality`, what repeats itself or is no text is refused.
    """

    min_chars: int = 0
    max_chars: int = 0
    languages: tuple[str, ...] = ()
    personal_data: PersonalData = PersonalData.IGNORE
    duplicates: Duplicates = Duplicates.IGNORE
    reward_cut_bps: int = 0
    reviews: int = 0
    reviewers: int = 0
    gold_share_bps: int = 0
    review_days: int = 0
    quality: bool = False

    @property
    def looks(self) -> bool:
        """Whether it asks for anything that takes a look at what a record says."""
        return self.quality or bool(self.languages) or self.personal_data is not PersonalData.IGNORE


@dataclass(frozen=True)
class Definition:
    """What its owner says about a datanet."""

    display_name: str
    licence: str
    description: str = ""
    tags: tuple[str, ...] = ()
    licence_notice: str = ""
    fields: tuple[Field, ...] = ()
    policy: Policy = Policy()
    kind: Kind = Kind.TEXT
    visibility: Visibility = Visibility.PUBLIC


@dataclass(frozen=True)
class Datanet:
    """A datanet as it stands.  `owner` is a lower-case address; `revision` counts the definition's changes."""

    id: str
    owner: str
    definition: Definition
    record_count: int
    contributor_count: int
    revision: int
    create_time: int
    update_time: int

    @property
    def name(self) -> str:
        """`datanets/{datanet}`."""
        return datanet_name(self.id)

    @property
    def etag(self) -> str:
        """Changes when the definition does; records that come in do not change it."""
        return f"r{self.revision}"


@dataclass(frozen=True)
class Content:
    """What a record says: destroyed when the record is erased, while the record's commitment stays.

    `suggested`: of a record in which personal data was found that its contributor is asked about, the fields without.
    """

    fields: dict[str, str]
    source: str
    salt: bytes
    canonical: bytes
    suggested: dict[str, str] | None = None


@dataclass(frozen=True)
class Record:
    """A record.

    `number` counts a datanet's records in the order of acceptance, from 1; one that waits has one that goes with that.
    `state_time`, `state_message`: when and why it came into a state other than accepted.
    """

    id: str
    datanet: str
    number: int
    contributor: str
    licence: str
    commitment: bytes
    size: int
    create_time: int
    state: RecordState = RecordState.ACCEPTED
    state_time: int | None = None
    state_message: str = ""

    @property
    def name(self) -> str:
        """`datanets/{datanet}/records/{record}`."""
        return record_name(self.datanet, self.id)


@dataclass(frozen=True)
class Anchor:
    """Where a root stands on chain."""

    chain_id: int
    contract: str
    transaction: str
    block: int


@dataclass(frozen=True)
class Snapshot:
    """An immutable version of a datanet.  `attempt` counts the anchorings that the ledger refused for good.

    `manifest`, `log_root`: empty until its files are made; see `openledger.snapshots.documents`.
    """

    datanet: str
    version: int
    root: bytes
    record_count: int
    contributor_count: int
    licence: str
    operation: str
    attempt: int
    create_time: int
    anchor: Anchor | None = None
    manifest: str = ""
    log_root: bytes = b""

    @property
    def name(self) -> str:
        """`datanets/{datanet}/snapshots/{version}`."""
        return snapshot_name(self.datanet, self.version)

    @property
    def parent(self) -> str:
        """The name of the version before; empty of the first."""
        return snapshot_name(self.datanet, self.version - 1) if self.version > 1 else ""


def datanet_name(datanet: str) -> str:
    return f"datanets/{datanet}"


def record_name(datanet: str, record: str) -> str:
    return f"datanets/{datanet}/records/{record}"


def snapshot_name(datanet: str, version: int) -> str:
    return f"datanets/{datanet}/snapshots/{version}"


def snapshot_key(name: str) -> tuple[str, int]:
    """Datanet and version of a snapshot's name.  Raises `Fault` when the version is not a plain number."""
    datanet, version = names.match("datanets/*/snapshots/*", name)
    if not (version.isascii() and version.isdigit() and len(version) < 10 and str(int(version)) == version):
        raise not_found("SNAPSHOT_NOT_FOUND", f"there is no snapshot {name}: versions are numbers, such as 1")
    return datanet, int(version)
