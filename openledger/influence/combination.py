"""A weighted sum of LoRA adapters as one adapter, and the contribution index that follows from its parents'.

With c_i = weight_i x scaling_i, what the parents together add to a linear map is

    sum_i c_i B_i A_i = B A,   A = [A_1; A_2; ...] (rows),   B = [c_1 B_1, c_2 B_2, ...] (columns),   scaling 1,

so the combination's parameter vector is J (theta_1, theta_2, ...), J linear: A's rows as they are, B's columns times
c_i.  By D_c a contributor moved each parent, by J D_c the combination.  Its score is the chain rule's,

    <grad, J D> = <J^T grad, D>,   J^T grad = (rows of grad A, c_i x columns of grad B),

the product with the parents' own vectors of the gradient in the parents' own parameters.  Nothing here is estimated:
B's columns are rounded once to float32, and rows once more to int8 (not at all where every c_i is a power of two and
nobody is in two parents).  Why so: docs/adr/0055-combinations.md.  Knows no files, and not whose adapters they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openledger.influence import index as indexing
from openledger.influence.adapter_config import MAX_RANK, AdapterConfig
from openledger.influence.index import ContributionIndex, Header
from openledger.influence.parameters import Parameter, layout
from openledger.influence.quantize import Quantised, QuantizeError
from openledger.manifest_rules import FEWEST_PARENTS, MOST_PARENTS, MOST_WEIGHT, WEIGHT_ONE

_B = ".lora_B.weight"

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class CombinationError(ValueError):
    """These adapters cannot be combined so.  The message says why, and what to do."""


@dataclass(frozen=True, eq=False)
class Parent:
    """An adapter that is combined.  tensors: its weights, by PEFT's names; weight_bps: in 1/10,000."""

    name: str
    weight_bps: int
    config: AdapterConfig
    tensors: Mapping[str, Float32]

    @property
    def factor(self) -> float:
        """c, what its B is multiplied by: one rounding a step, the same on every machine."""
        return self.weight_bps / WEIGHT_ONE * self.config.scaling

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Layout of its parameter vector."""
        return layout({name: tensor.shape for name, tensor in self.tensors.items()})


def config(parents: Sequence[Parent], max_rank: int = MAX_RANK) -> AdapterConfig:
    """The combination's configuration; scaling 1.  Raises `CombinationError` for what is no sum of low-rank maps."""
    if not FEWEST_PARENTS <= len(parents) <= MOST_PARENTS or len({parent.name for parent in parents}) < len(parents):
        raise CombinationError(f"{FEWEST_PARENTS} to {MOST_PARENTS} different revisions are combined: name each once")
    first = parents[0]
    for parent in parents:
        if not 0 < parent.weight_bps <= MOST_WEIGHT:
            raise CombinationError(
                f"the weight of {parent.name} must be above 0 and at most {MOST_WEIGHT // WEIGHT_ONE}"
            )
        if parent.config.dora:
            raise CombinationError(
                f"{parent.name} is a DoRA adapter: it gives each row of a map another length, so that what it changes "
                "depends on what is there already and is no term of a sum; tune it again without dora"
            )
        if (parent.config.layers, parent.config.target_modules) != (first.config.layers, first.config.target_modules):
            raise CombinationError(
                f"{parent.name} changes {_places(parent)}, {first.name} {_places(first)}: tune them on the same maps "
                "of the same layers"
            )
    rank = sum(parent.config.rank for parent in parents)
    if rank > max_rank:
        said = " + ".join(str(parent.config.rank) for parent in parents)
        raise CombinationError(
            f"ranks add up: {said} = {rank}, and at most {max_rank} is served; combine fewer, or tune them with "
            "smaller ranks"
        )
    return AdapterConfig(first.config.base, rank, rank, first.config.target_modules, first.config.layers)


def weights(parents: Sequence[Parent]) -> dict[str, Float32]:
    """The combination's tensors, by sorted name: A's rows and B's columns in the parents' order.

    Raises `CombinationError` for shapes that do not fit, and for what float32 does not hold.
    """
    _check_shapes(parents)
    joined = {}
    for name in sorted(parents[0].tensors):
        parts = [_scaled(parent.tensors[name], name, parent.factor) for parent in parents]
        with np.errstate(over="ignore"):
            joined[name] = np.concatenate(parts, axis=_axis(name)).astype(np.float32)
        if not np.isfinite(joined[name]).all():
            raise CombinationError(f"{name} of the sum is no finite number: take smaller weights")
    return joined


def index(parents: Sequence[Parent], indices: Sequence[ContributionIndex]) -> ContributionIndex:
    """The combination's contribution index: every contributor of a parent once, then every parent's placebos.

    indices: of the parents, in their order.  Raises `CombinationError` where one is of other weights.
    """
    _check_shapes(parents)
    for parent, found in zip(parents, indices, strict=True):
        if found.header.parameters != parent.parameters:
            raise CombinationError(f"the contribution index of {parent.name} is not of its weights")
    people = sorted({who for found in indices for who in found.header.contributors})
    placebos = sum(found.header.placebos for found in indices)
    header = Header(layout(_shapes(parents)), tuple(people), placebos)
    try:
        return indexing.quantised(header, (_moved(parents, rows, header) for rows in _rows(people, indices)))
    except QuantizeError as error:
        raise CombinationError(f"what contributors moved is beyond all measure ({error}): smaller weights") from error


def _rows(people: Iterable[str], indices: Sequence[ContributionIndex]) -> Iterator[list[Quantised | None]]:
    """What is to be placed in each row: of each parent its row, or None."""
    places = [{who: row for row, who in enumerate(found.header.contributors)} for found in indices]
    for who in people:
        yield [
            found.row(at[who]) if who in at else None for found, at in zip(indices, places, strict=True)
        ]  # fmt: skip
    for number, found in enumerate(indices):
        for row in range(len(found.header.contributors), found.header.rows):
            yield [found.row(row) if other == number else None for other in range(len(indices))]


def _moved(parents: Sequence[Parent], rows: Sequence[Quantised | None], header: Header) -> Float64:
    """J applied to a displacement of each parent (None: zero): float64 [P]."""
    whole = {parameter.name: np.zeros(parameter.shape) for parameter in header.parameters}
    start = 0
    for parent, row in zip(parents, rows, strict=True):
        end = start + parent.config.rank
        if row is not None:
            pieces = np.split(row.to_float(), np.cumsum(row.sizes)[:-1])
            for parameter, piece in zip(parent.parameters, pieces, strict=True):
                part = _scaled(piece.reshape(parameter.shape), parameter.name, parent.factor)
                _ranked(whole[parameter.name], parameter.name)[start:end] = _ranked(part, parameter.name)
        start = end
    return np.concatenate([whole[parameter.name].reshape(-1) for parameter in header.parameters])


def _axis(name: str) -> int:
    """Along which a tensor's rank runs."""
    return 1 if name.endswith(_B) else 0


def _ranked(tensor: Float64, name: str) -> Float64:
    """A view of a tensor whose first axis is the rank's."""
    return tensor.T if name.endswith(_B) else tensor


def _scaled(tensor: npt.NDArray[np.floating], name: str, factor: float) -> Float64:
    exact = tensor.astype(np.float64)
    return exact * factor if name.endswith(_B) else exact


def _shapes(parents: Sequence[Parent]) -> dict[str, tuple[int, ...]]:
    rank = sum(parent.config.rank for parent in parents)
    first = parents[0].tensors
    return {
        name: (tensor.shape[0], rank) if name.endswith(_B) else (rank, tensor.shape[1])
        for name, tensor in first.items()
    }


def _check_shapes(parents: Sequence[Parent]) -> None:
    """Raises `CombinationError` unless all have the same maps, of their own ranks."""
    first = parents[0]
    for parent in parents:
        if parent.tensors.keys() != first.tensors.keys():
            raise CombinationError(f"{parent.name} and {first.name} do not have the same tensors")
        for name, tensor in parent.tensors.items():
            rank, other = parent.config.rank, first.tensors[name].shape[1 - _axis(name)] if tensor.ndim == 2 else 0
            expected = (other, rank) if name.endswith(_B) else (rank, other)
            if tensor.dtype != np.float32 or tensor.shape != expected:
                raise CombinationError(f"{name} of {parent.name} must be a float32 matrix of rank {rank}")


def _places(parent: Parent) -> str:
    layers = ", ".join(map(str, parent.config.layers))
    return f"{', '.join(parent.config.target_modules)} of layers {layers}"
