"""What a revision has published, beside what its trainings gave when they were taken again.

Where the adapter came to the same bytes, this machine computes as the one that made it, and everything else must be the
same bytes too; otherwise it may be as far off as other machines come (`openledger.retrained`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load

from openledger import canonical
from openledger.adapters import ADAPTER_FILES
from openledger.influence.index import ContributionIndex
from openledger.retrained import Found, loss, vector, weights
from services.factory import audit
from services.factory.again_task import MODEL
from services.factory.audit import HALVES_INDEX, LEFT_OUT_INDEX
from services.factory.claims import Claims, Training
from services.factory.contradictions import is_configured
from services.factory.counterfactual_task import RETRAINED
from services.factory.write import INDEX

Floats = npt.NDArray[np.float32]


class Comparison:
    """Of one revision: first the run itself, if it can be taken again, then the other trainings."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._layout = claims.index(INDEX).header.parameters
        self._weights = claims.store.get(claims.lineage.files[ADAPTER_FILES[1]])
        tensors = load(self._weights)
        self._whole: Floats = np.concatenate([tensors[each.name].ravel() for each in self._layout])
        self._losses: npt.NDArray[np.float64] | None = None
        self.exact = False
        """Whether this machine came to the adapter's own bytes."""

    def run(self, output: Path, mean: float | None) -> Iterator[Found]:
        """The run itself.  output, mean: of `services.factory.again_task.again`."""
        with safe_open(output / MODEL, framework="numpy") as model:
            theta, start, losses = (model.get_tensor(name) for name in ("theta", "start", "losses"))
        self._losses = losses.astype(np.float64)
        self.exact = (output / ADAPTER_FILES[1]).read_bytes() == self._weights
        found = weights("the adapter's weights", self._whole, theta, start, same=self.exact)
        if found.wrong:
            self._whole = theta  # of what follows it is not known yet whether it is wrong as well
        yield found
        yield self._configured(output)
        said = self._claims.lineage.metrics.get("loss_after")
        if mean is not None and said is not None:
            yield loss("the held-out loss", float(said), mean, exact=self.exact)
        yield from self.part(output)

    def _configured(self, output: Path) -> Found:
        """Which layers are the last ones the base alone says; the rest is looked at before (`contradictions`)."""
        name = ADAPTER_FILES[0]
        published, made = self._claims.store.get(self._claims.lineage.files[name]), (output / name).read_bytes()
        fits = is_configured(canonical.parse_json(made), canonical.parse_json(published))
        return Found(name, published == made, "" if fits else "it is not what training gives")

    def part(self, output: Path) -> Iterator[Found]:
        """Rows of the contribution index: of all whom a training followed, and the placebos that it did."""
        published, made = self._claims.index(INDEX), ContributionIndex.open(output / INDEX)
        place = {who: row for row, who in enumerate(published.header.contributors)}
        for row, who in enumerate(made.header.contributors):
            name = f"the contribution of {who}"
            if who in place:
                yield vector(name, published.row(place[who]), made.row(row).to_float(), exact=self.exact)
            else:
                yield Found(name, same=False, wrong="it is not published")
        for number in range(made.header.placebos):
            rows = [len(index.header.contributors) + number for index in (published, made)]
            again = made.row(rows[1]).to_float()
            yield vector(f"placebo {number + 1}", published.row(rows[0]), again, exact=self.exact)

    def training(self, training: Training, output: Path) -> Iterator[Found]:
        """One without somebody: the row that it gave, and by how much losses rose."""
        with safe_open(output / RETRAINED, framework="numpy") as model:
            theta, losses = model.get_tensor("theta"), model.get_tensor("losses").astype(np.float64)
        name = LEFT_OUT_INDEX if training.kind == "left_out" else HALVES_INDEX
        row = self._claims.index(name).row(training.number)
        yield vector(f"the displacement of {training.name}", row, self._whole - theta, exact=self.exact)
        said = self._claims.audit.rises if self._claims.audit is not None else ()
        if training.kind == "left_out" and said and self._losses is not None:
            rises = audit.rises(self._losses[None], losses[None])
            if rises:
                name = f"the rise of the held-out loss by {training.name}"
                yield loss(name, said[training.number].mean, rises[0].mean, exact=self.exact)
