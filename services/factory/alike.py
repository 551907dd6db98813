"""What a revision has published, beside what its trainings gave when they were taken again.

Where the adapter came to the same weights, this machine computes as the one that made it, and everything else must be
the same bytes too; otherwise it may be as far off as other machines come (`openledger.retrained`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load

from openledger import canonical
from openledger.adapters import ADAPTER_FILES
from openledger.influence.index import ContributionIndex
from openledger.retrained import SAME, Found, Likeness, Machine, likeness, loss, row, vector, weights
from services.factory import audit
from services.factory.again_task import MODEL
from services.factory.audit import HALVES_INDEX, LEFT_OUT_INDEX
from services.factory.claims import Claims, Training
from services.factory.contradictions import is_configured
from services.factory.counterfactual_task import RETRAINED
from services.factory.write import INDEX

Floats = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]
_OFF = SAME / 10
_MODELS = 4
"""A displacement is between two models, each off by about as much as the adapter is; twice that."""


class Comparison:
    """Of one revision: first the run itself, if it can be taken again, then the other trainings."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._layout = claims.index(INDEX).header.parameters
        tensors = load(claims.weights)
        self._whole: Floats = np.concatenate([tensors[each.name].ravel() for each in self._layout])
        self._losses: Floats64 | None = None
        self._off = 0.0
        """How far the adapter is from the one made again."""
        self.machine = Machine()

    def run(self, output: Path, mean: float | None) -> Iterator[Found]:
        """The run itself.  output, mean: of `services.factory.again_task.again`."""
        with safe_open(output / MODEL, framework="numpy") as model:
            theta, start, losses = (model.get_tensor(name) for name in ("theta", "start", "losses"))
        self._losses = losses.astype(np.float64)
        likes = dict(self._likes(output))
        found = [like for like in likes.values() if isinstance(like, Likeness)]
        self.machine = Machine.of(found, exact=self._whole.tobytes() == theta.tobytes())
        self._off = float(np.linalg.norm(self._whole - theta))
        if self.machine.alike:  # it must be nearly nothing then, and moving the adapter must not widen what rows may be
            self._off = min(self._off, _OFF * float(np.linalg.norm(theta - start)))
        came = weights("the adapter's weights", self._whole, theta, start, self.machine)
        if came.wrong:
            self._whole, self._off = theta, 0.0  # of what follows it is not known yet whether it is wrong as well
        yield came
        yield self._configured(output)
        if mean is not None:
            yield self._held_out(mean)
        yield from self._rows(likes)

    def _held_out(self, mean: float) -> Found:
        name, said = "the held-out loss", self._claims.lineage.metrics.get("loss_after")
        if said is None:
            return Found(name, same=False, wrong="it is not published")
        return loss(name, float(said), mean, exact=self.machine.exact)

    def _configured(self, output: Path) -> Found:
        """Which layers are the last ones the base alone says; the rest is looked at before (`contradictions`)."""
        name = ADAPTER_FILES[0]
        published, made = self._claims.store.get(self._claims.lineage.files[name]), (output / name).read_bytes()
        fits = is_configured(canonical.parse_json(made), canonical.parse_json(published))
        return Found(name, published == made, "" if fits else "it is not what training gives")

    def part(self, output: Path) -> Iterator[Found]:
        """Rows of the contribution index: of all whom a training followed, and the placebos that it did."""
        return self._rows(dict(self._likes(output)))

    def _rows(self, likes: Mapping[str, Likeness | str]) -> Iterator[Found]:
        for name, like in likes.items():
            if isinstance(like, str):
                yield Found(name, same=False, wrong=like)
            else:
                yield row(name, like, self.machine)

    def _likes(self, output: Path) -> Iterator[tuple[str, Likeness | str]]:
        """Each of them by name, beside what is published; or why it cannot be.  One at a time is in memory."""
        published, made = self._claims.index(INDEX), ContributionIndex.open(output / INDEX)
        place = {who: number for number, who in enumerate(published.header.contributors)}
        pairs = [(f"the contribution of {who}", place.get(who), n) for n, who in enumerate(made.header.contributors)]
        theirs_from, ours_from = (len(index.header.contributors) for index in (published, made))
        pairs += [(f"placebo {n + 1}", theirs_from + n, ours_from + n) for n in range(made.header.placebos)]
        for name, theirs, ours in pairs:
            if theirs is None:
                yield name, "it is not published"
            else:
                yield name, likeness(published.row(theirs), made.row(ours).to_float())

    def training(self, training: Training, output: Path) -> Iterator[Found]:
        """One without somebody: the row that it gave, and by how much losses rose."""
        with safe_open(output / RETRAINED, framework="numpy") as model:
            theta, losses = model.get_tensor("theta"), model.get_tensor("losses").astype(np.float64)
        name = LEFT_OUT_INDEX if training.kind == "left_out" else HALVES_INDEX
        published = self._claims.index(name).row(training.number)
        # What differs between two machines' models differs in each displacement, however short it is.
        yield vector(
            f"the displacement of {training.name}", published, self._whole - theta, self.machine, _MODELS * self._off
        )
        if training.kind == "left_out" and self._losses is not None:
            yield from self._rise(training, self._losses, losses)

    def _rise(self, training: Training, everybody: Floats64, losses: Floats64) -> Iterator[Found]:
        document, name = self._claims.audit, f"the rise of the held-out loss by {training.name}"
        if document is None or not document.rises or not len(losses):
            return
        judged = min(document.held_out, audit.MOST_RECORDS)
        if not (np.isfinite(losses).all() and np.isfinite(everybody).all()) or document.judged < judged:
            # Published is a mean over records whose losses are finite under all models, of which one is here.
            yield Found(name, same=False, odd="it was not compared: some loss is not finite, here or by audit.json")
            return
        [rise] = audit.rises(everybody[None], losses[None])
        yield loss(name, document.rises[training.number].mean, rise.mean, exact=self.machine.exact)
