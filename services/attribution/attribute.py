"""One trace, from its model to its signed and published receipt.  Runs in a worker thread; stores nothing but blobs."""

from __future__ import annotations

from openledger.artifacts import ArtifactStore
from openledger.grade import Grade
from openledger.receipt import sign
from openledger.trace import Trace
from services.attribution import score
from services.attribution.resolve import Models
from services.attribution.score import Terms
from services.attribution.store import Issued


class Attributor:
    """Models to measure with, a store to publish in, and the key to sign with."""

    def __init__(self, models: Models, artifacts: ArtifactStore, key: str) -> None:
        self._models, self._artifacts, self._key = models, artifacts, key

    def load(self) -> None:
        """Load the base model now rather than with the first trace.  Raises what `Models.load` raises."""
        self._models.load()

    def attribute(self, trace: Trace, terms: Terms, grade: Grade | None) -> Issued:
        """The receipt of a trace; both are published when this returns.  Raises `Unattributable`.

        The same trace under the same terms and grade gives the same bytes: whatever moment the process dies in, doing
        it again publishes nothing new.
        """
        self._artifacts.put(trace.dumps())
        scorer, revision = self._models.resolve(trace)
        measured = score.measure(scorer, trace, revision)
        document = sign(score.receipt(trace, revision, measured, terms, grade), self._key).dumps()
        self._artifacts.put(document)
        return Issued(trace.response, trace.payer, trace.digest(), document)
