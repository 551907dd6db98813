"""One trace, from its model to its signed receipt, in a worker thread; and the publishing of receipts.

A receipt is published once it is committed and not before: made again after a crash, by terms or a grade that changed
meanwhile, it would be another one, and two signed receipts of one answer would be among the artifacts.
"""

from __future__ import annotations

import asyncio

from openledger.artifacts import ArtifactStore
from openledger.canonical import sha256
from openledger.grade import Grade
from openledger.receipt import sign
from openledger.trace import Trace
from services.attribution import score
from services.attribution.resolve import Models
from services.attribution.score import Terms, Unattributable
from services.attribution.store import Issued
from services.kit.durable_log import DurableLog

MOST_TOKENS = 8192
"""Of question and answer: the context of the base model that is shipped."""
_PAGE = 100


class Attributor:
    """Models to measure with, a store to publish in, and the key to sign with."""

    def __init__(self, models: Models, artifacts: ArtifactStore, key: str, most_tokens: int = MOST_TOKENS) -> None:
        """most_tokens: of question and answer together; what has more is not measured here."""
        self._models, self._artifacts, self._key, self._most_tokens = models, artifacts, key, most_tokens

    def load(self) -> None:
        """Load the base model now rather than with the first trace.  Raises what `Models.load` raises."""
        self._models.load()

    def attribute(self, trace: Trace, terms: Terms, grade: Grade | None) -> Issued:
        """The receipt of a trace, which is published when this returns if its payer wants that.

        Raises `Unattributable`.  The same trace under the same terms and grade gives the same bytes.
        """
        if trace.published:
            self._artifacts.put(trace.dumps())
        tokens = len(trace.prompt_token_ids) + len(trace.completion_token_ids)
        if tokens > self._most_tokens:
            raise Unattributable(
                "TOO_LARGE_HERE", f"question and answer have {tokens} tokens, at most {self._most_tokens} are measured"
            )
        scorer, revision = self._models.resolve(trace)
        measured = score.measure(scorer, trace, revision)
        document = sign(score.receipt(trace, revision, measured, terms, grade), self._key).dumps()
        return Issued(trace.response, trace.payer, trace.digest(), document, trace.end_time)


async def publish_rest(receipts: DurableLog, artifacts: ArtifactStore) -> None:
    """Publish what is in the log and was not published: what was committed last, before the process died.

    Receipts are published in the order of the log, so all before one that is there are there.
    """
    end = (await receipts.read(0, 1)).high_watermark
    start = end
    while start > 0:
        page = (await receipts.read(max(0, start - _PAGE), min(_PAGE, start))).entries
        if await asyncio.to_thread(lambda found=page[0]: artifacts.has(sha256(found.payload))):  # type: ignore[misc]
            start = page[0].offset
            break
        start = page[0].offset - 1
    while start < end:
        page = (await receipts.read(start, _PAGE)).entries
        for entry in page:
            await asyncio.to_thread(artifacts.put, entry.payload)
        start = page[-1].offset
