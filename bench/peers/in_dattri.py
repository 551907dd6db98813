"""dattri 0.3.0 (TRAIS-Lab, MIT): its attributors on the same adapter, each with the settings that it comes with.

Where a method needs a number that the library leaves to its user, the number is here, by a rule that looks at no
agreement: DataInf's damping as its paper has it, of all layers together; EK-FAC's likewise of its eigenvalues; TRAK's
dimension half of the records, for its matrix to be invertible; LoGra 8 x 8 numbers a map, for LoRA's rank is 8. Scores
there are [records, queries]. This module measures no agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bench.peers.adapted import Adapted, Batch, Named, tensors
from bench.peers.arm import Arm, Failure
from bench.peers.scene import Scene, measured
from openledger.influence import record_scores

LIBRARY = f"dattri {version('dattri')}"
BATCH = 16
"""Examples at a time: vmap takes .3 GB for each."""
SIDE = 8
"""Of the square that a map's gradient is projected to: LoRA's rank."""
DAMPING = 0.1


@dataclass(frozen=True, eq=False)
class World:
    """The module and its examples, and the weights that it has at the end of training."""

    scene: Scene
    model: Adapted
    records: Batch
    queries: Batch

    @property
    def state(self) -> dict[str, Tensor]:
        """The trained weights."""
        return {name: weight.detach().clone() for name, weight in self.model.state_dict().items()}

    def task(self, loss: Callable[..., Tensor]) -> Any:
        """The library's task: trained weights, and what is attributed."""
        from dattri.task import AttributionTask

        return AttributionTask(loss_func=loss, model=self.model, checkpoints=self.state)

    def loss(self, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        """Mean NLL of a batch of one, or of a bare example: as dattri's vmaps see them."""
        return _called(self.model, parameters, batch).sum()

    def first(self, count: int) -> Batch:
        """So many queries."""
        return [tensor[:count] for tensor in self.queries]


class _Losses(nn.Module):
    """The module, whose call gives losses: what functional_call can call."""

    def __init__(self, model: Adapted) -> None:
        super().__init__()
        self.model = model

    def forward(self, *batch: Tensor) -> Tensor:
        return self.model.losses(*batch)


def _called(model: Adapted, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
    named = {f"model.{name}": tensor for name, tensor in parameters.items()}
    result: Tensor = torch.func.functional_call(_Losses(model), named, tuple(batch))
    return result


def world(scene: Scene) -> World:
    """Call within ``run.attached``."""
    taps, trunk = scene.run._taps, scene.study.trunk
    assert taps is not None
    maps = {parameter.name: linear for parameter, linear in zip(taps.parameters, taps._maps, strict=True)}
    return World(scene, Adapted(trunk, maps), tensors(trunk, scene.study.training), tensors(trunk, scene.study.queries))


def loader(batch: Batch, *, named: bool = False) -> DataLoader[Any]:
    """In order."""
    data: Dataset[Any] = Named(batch) if named else TensorDataset(*batch)
    return DataLoader(data, batch_size=BATCH)


def arms(scene: Scene) -> Iterator[Arm | Failure]:
    """One after another."""
    room = world(scene)
    for method, make in METHODS.items():
        try:
            with weights_put_back(scene):
                yield make(room, method)
        except Exception as error:  # noqa: BLE001  whatever a library raises is the result
            yield Failure(LIBRARY, method, f"{type(error).__name__}: {error}")


@contextmanager
def weights_put_back(scene: Scene) -> Iterator[None]:
    """Libraries load checkpoints into the module."""
    theta = scene.run.theta.clone()
    try:
        yield
    finally:
        scene.run.theta.copy_(theta)


def _arm(
    room: World,
    method: str,
    prepare: Callable[[], Callable[[Batch], Tensor]],
    kept: Callable[[], int] = lambda: 0,
    grows_with: str = "nothing",
    note: str = "",
) -> Arm:
    """What prepare gives queries as [records, queries]; its cost is what has to be done before the first answer."""
    with measured() as preparing:
        score = prepare()
    with measured() as one:
        score(room.first(1))
    found = score(room.queries).detach().numpy().T.astype(np.float64)
    memory = max(preparing.megabytes, one.megabytes)
    scores = record_scores.by_contributor(found, room.scene.study.owners, room.scene.people)
    return Arm(LIBRARY, method, scores, preparing.seconds, one.seconds, memory, kept(), grows_with, note)


def _tracin(room: World, method: str, *, cosine: bool = False) -> Arm:
    """Grad-Dot and Grad-Cos are TracIn at one checkpoint."""
    from dattri.algorithm import TracInAttributor

    def prepare() -> Callable[[Batch], Tensor]:
        attributor = TracInAttributor(room.task(room.loss), weight_list=torch.ones(1), normalized_grad=cosine)
        attributor.projector_kwargs = None  # its default is a projection to 512 numbers, and asking for None gives that
        return lambda queries: attributor.attribute(loader(room.records), loader(queries))

    note = "keeps nothing: the gradient of every record is taken again for every answer"
    return _arm(room, method, prepare, note=note)


def _datainf(room: World, method: str) -> Arm:
    from dattri.algorithm import IFAttributorDataInf

    attributor = IFAttributorDataInf(room.task(room.loss))

    def prepare() -> Callable[[Batch], Tensor]:
        attributor.cache(loader(room.records))
        attributor.regularization = DAMPING * float(_cached(attributor).detach().square().mean())
        return lambda queries: attributor.attribute(loader(room.records), loader(queries))

    note = "takes the records' gradients again for every answer, although it keeps them"
    return _arm(room, method, prepare, lambda: _cached(attributor).nbytes, "records", note)


def _cached(attributor: Any) -> Tensor:
    [gradients] = attributor._cached_train_reps.values()
    result: Tensor = gradients
    return result


def _ekfac(room: World, method: str) -> Arm:
    from dattri.algorithm import IFAttributorEKFAC

    def loss(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        return _called(room.model, parameters, batch).mean()

    attributor = IFAttributorEKFAC(room.task(loss))

    def prepare() -> Callable[[Batch], Tensor]:
        attributor.cache(loader(room.records))
        means = [float(each.mean()) for each in attributor.cached_lambdas.values()]
        attributor.damping = DAMPING * float(np.mean(means))
        return lambda queries: attributor.attribute(loader(room.records), loader(queries))

    return _arm(room, method, prepare)


def _trak(room: World, method: str) -> Arm:
    from dattri.algorithm import TRAKAttributor

    def odds(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        log = -room.loss(parameters, batch)
        return log - torch.log1p(-torch.exp(log))

    def chance(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        return torch.exp(-room.loss(parameters, batch))

    dimension = len(room.records[0]) // 2
    attributor = TRAKAttributor(room.task(odds), chance, projector_kwargs={"proj_dim": dimension})

    def prepare() -> Callable[[Batch], Tensor]:
        attributor.cache(loader(room.records))
        return lambda queries: attributor.attribute(loader(queries))

    def kept() -> int:
        return int(attributor.inv_XTX_XT_list[0].nbytes + attributor.Q.nbytes)

    return _arm(room, method, prepare, kept, "records", f"{dimension} dimensions, one model")


def _logra(room: World, method: str) -> Arm:
    from dattri.algorithm import LoGraAttributor

    with TemporaryDirectory() as place:  # it would write a file into the current folder
        attributor = LoGraAttributor(room.task(_of_a_model), proj_dim=SIDE**2, cache_dir=place)

        def prepare() -> Callable[[Batch], Tensor]:
            records = loader(room.records, named=True)
            attributor.cache(records)
            return lambda queries: attributor.attribute(records, loader(queries, named=True))

        def kept() -> int:
            return int(attributor.total_proj_dim) * 4 * len(room.records[0])

        return _arm(room, method, prepare, kept, "records", f"{SIDE} x {SIDE} numbers a map")


def _of_a_model(model: Adapted, batch: Any, _device: str) -> Tensor:
    """The form of loss that dattri's methods with hooks ask for: a sum over the batch."""
    loss: Tensor = (model(**batch) if isinstance(batch, dict) else model(*batch)).loss
    return loss


METHODS: dict[str, Callable[[World, str], Arm]] = {
    "LoGra": _logra,
    "TRAK": _trak,
    "Grad-Dot": _tracin,
    "DataInf": _datainf,
    "Grad-Cos": partial(_tracin, cosine=True),
    "EK-FAC": _ekfac,
}
"""In the order of measuring: EK-FAC last, for where it fails it leaves its hooks on the maps."""
