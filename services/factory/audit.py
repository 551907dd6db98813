"""How far the paid scores can be trusted: their agreement with models that were really trained again, as a document.

Everything is ranks (`openledger.influence.agreement`): do scores put contributors, or halves of them, in the order in
which retraining puts them?  Beside the paid scores are judged those of the vectors that the retrained models
themselves give, and the paid scores shuffled, which agree by luck alone.  No vector is judged by models that it was
made from.  This module trains nothing and knows neither files nor models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from openledger import canonical
from openledger.influence import agreement

FILE, VERSION = "audit.json", "openledger.audit.v1"
LEFT_OUT_INDEX, FITTED_INDEX = "leave_one_out_index.safetensors", "fitted_index.safetensors"
HALVES_INDEX = "halves_index.safetensors"
FILES = (FILE, LEFT_OUT_INDEX, FITTED_INDEX, HALVES_INDEX)
"""All that trainings again leave beside the adapter."""
PAID, LEFT_OUT, FITTED, SHUFFLED = "paid", "leave_one_out", "fitted", "shuffled"
FEWEST_POINTS = 3
"""Of two points every order is right or wrong altogether."""
MOST_RECORDS = 256
"""Each costs a gradient, and 2,000 resamples of ranks; more would hardly narrow an interval over tens of models."""
_DIGITS, _RISE_DIGITS = 4, 9

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class AuditError(ValueError):
    """The document is not an audit."""


@dataclass(frozen=True, eq=False)
class Retrained:
    """What the models that were trained again make of Q held-out records: mean NLL of each, in nats a token."""

    everybody: Floats
    """[1, Q], of the run done again without leaving anybody out; [0, Q] where none was left out."""
    left_out: Floats
    """[C, Q], without each contributor, or [0, Q]."""
    halves: Floats
    """[K, Q], with random halves of the contributors."""
    masks: Bools
    """[K, C], who was a member of each."""

    @property
    def fitted(self) -> int:
        """The first so many halves are fitted to, and the others judge what was fitted.

        One in two or more, until everybody is in some and not in others of them: who always is, or never, would seem to
        add nothing.  0 where they are too few for that.
        """
        half = len(self.masks) - len(self.masks) // 2
        told_apart = (n for n in range(half, len(self.masks) + 1) if n and _varies(self.masks[:n]))
        return next(told_apart, 0)


@dataclass(frozen=True)
class Agreement:
    """Mean Spearman correlation over held-out records, with its 95 % bootstrap interval over records and models."""

    mean: float
    low: float
    high: float
    models: int
    """Models trained again that it is over."""


@dataclass(frozen=True)
class Judged:
    """One kind of scores.  None: not asked for, made from those models, or too few to say."""

    scores: str
    """paid, leave_one_out, fitted or shuffled."""
    leave_one_out: Agreement | None
    """With the rise of the loss when each contributor is left out."""
    halves: Agreement | None
    """With the loss under random halves of the contributors: the linear datamodeling score."""


@dataclass(frozen=True)
class Rise:
    """Of a mean loss, in nats a token, with its standard error over the records."""

    mean: float
    error: float


@dataclass(frozen=True)
class Audit:
    """Everything, as it is published (docs/audit.md)."""

    words: str
    agreement: tuple[Judged, ...]
    held_out: int
    judged: int
    """Those of them with finite losses and scores everywhere; of more than MOST_RECORDS, so many drawn at random."""
    repeat: float | None
    """Largest change of a held-out record's loss by training again without leaving anybody out, in nats a token."""
    contributors: tuple[str, ...]
    left_out: bool
    """Whether every contributor was left out once."""
    halves: tuple[str, ...]
    """Members of each half, "1", in the order of the contributors."""
    fitted: int
    """How many of the halves, from the first, the fitted vectors are fitted to."""
    asked_halves: int
    ridge: float
    seed: int
    steps: int
    training: str
    """SHA-256 of training.json, which has the order of the records."""
    rises: tuple[Rise, ...] = ()
    """Of the held-out records' mean loss without each contributor, in their order, where each was left out once."""
    version: str = VERSION

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        document: dict[str, Any] = asdict(self)
        return canonical.dumps(document)

    @classmethod
    def from_bytes(cls, data: bytes) -> Audit:
        """Read `to_bytes` again.  Raises AuditError."""
        try:
            audit = _adapter().validate_json(data, strict=True)
        except ValidationError as error:
            raise AuditError(f"this is not an audit: {error}") from error
        if audit.version != VERSION:
            raise AuditError(f"unknown version {audit.version!r} of an audit")
        return audit


def draw(held_out: int, seed: int) -> list[int]:
    """Which of so many held-out records are judged by, in order."""
    drawn = np.random.default_rng(seed).permutation(held_out)[:MOST_RECORDS]
    places: list[int] = np.sort(drawn).tolist()
    return places


def rises(everybody: Floats, left_out: Floats) -> tuple[Rise, ...]:
    """everybody: [1, Q]; left_out: [C, Q].  () where nobody was left out, or no record has a finite loss everywhere."""
    if not len(everybody) or not len(left_out):
        return ()
    change = left_out - everybody
    change = change[:, np.isfinite(change).all(0)]
    count = change.shape[1]
    if count == 0:
        return ()
    errors = change.std(axis=1) / np.sqrt(max(count - 1, 1))
    return tuple(
        Rise(round(float(mean), _RISE_DIGITS), round(float(error), _RISE_DIGITS))
        for mean, error in zip(change.mean(axis=1), errors, strict=True)
    )


def _varies(masks: Bools) -> bool:
    return bool((masks.any(0) & ~masks.all(0)).all())


def finite(scores: Mapping[str, Floats], found: Retrained) -> Bools:
    """Which of the Q records can be judged: [Q]."""
    usable: Bools = np.isfinite(np.concatenate([found.everybody, found.left_out, found.halves])).all(0)
    for each in scores.values():
        usable &= np.isfinite(each).all(1)
    return usable


def judge(scores: Mapping[str, Floats], found: Retrained, seed: int) -> tuple[Judged, ...]:
    """scores: [Q, C] by kind, all finite, positive where the record became likelier; the paid ones among them."""
    shuffled = np.random.default_rng(seed).permuted(scores[PAID], axis=1)
    rises = (found.left_out - found.everybody).T
    first = {FITTED: found.fitted}
    result = []
    for kind, each in {**scores, SHUFFLED: shuffled}.items():
        masks, losses = found.masks[first.get(kind, 0) :], found.halves[first.get(kind, 0) :]
        people = None if kind == LEFT_OUT else _agreement(each, rises)
        result.append(Judged(kind, people, _agreement(_sums(each, masks), -losses.T)))
    return tuple(result)


def _sums(scores: Floats, masks: Bools) -> Floats:
    return agreement.subset_scores(scores, masks) if len(masks) else np.empty((len(scores), 0))


def _agreement(predicted: Floats, truth: Floats) -> Agreement | None:
    """Of [Q, n] with [Q, n]; None where there is too little to compare."""
    queries, points = truth.shape
    if queries == 0 or points < FEWEST_POINTS:
        return None
    found = agreement.over_queries_and_points(predicted, truth)
    return Agreement(round(found.mean, _DIGITS), round(found.low, _DIGITS), round(found.high, _DIGITS), points)


def words(judged: tuple[Judged, ...], found: Retrained, held_out: int, asked: int) -> str:
    """What was found, in a few sentences.  found: of the records that could be judged, of so many held out.

    asked: how many halves there should be.
    """
    records, halves, few = found.halves.shape[1], len(found.masks), ""
    if halves < asked:
        few = f" There are only {halves} different halves of so few contributors, not {asked}."
    if halves and not found.fitted:
        few += " No vectors were fitted: somebody is in all of the halves, or in none; more halves tell them apart."
    if held_out == 0:
        why = "no record is held out; held_out above 0 would keep some"
    elif records == 0:
        why = "no held-out record has a finite loss under all of the models"
    else:
        paid, control = judged[0], judged[-1]
        told = [
            f"{what} and training again: rank correlation {_told(ours)}, {_strength(ours)}; shuffled: {_told(luck)}"
            for what, ours, luck in (
                ("Leaving out each contributor", paid.leave_one_out, control.leave_one_out),
                ("Leaving out random halves of the contributors", paid.halves, control.halves),
            )
            if ours is not None and luck is not None
        ]
        if told:
            return ". ".join([*told, f"Measured on {records} held-out records"]) + "." + few
        why = f"fewer than {FEWEST_POINTS} models are too few to put into an order"
    return f"How well the paid scores agree with training again could not be judged: {why}.{few}"


def _told(found: Agreement) -> str:
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f}, 95 % interval)"


def _strength(found: Agreement) -> str:
    if found.low > 0.5:
        return "the paid scores agree well"
    return "the paid scores agree" if found.low > 0 else "which cannot be told from luck"


@cache
def _adapter() -> TypeAdapter[Audit]:
    return TypeAdapter(Audit)
