"""The paid vectors once more, through the attribution service's own scorer: from an answer's tokens to its evidence.

From an adapter's files and its contribution index, as the service fetches them, with nothing of the study in memory.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from bench.lds.study import Floats, Study
from openledger import base_models, canonical
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex, build, root
from openledger.manifest import Base, LineageManifest
from openledger.split import NAT
from openledger.trace import Trace
from services.attribution.score import Revision, measure
from services.factory import write
from services.factory.data import Example
from services.factory.training_run import TrainingRun


def scores(study: Study, run: TrainingRun, vectors: Tensor) -> Floats:
    """Of each query and contributor [Q, C], in nats per token.  vectors: displacements [C, P]."""
    index = build(run.adapter.parameters, dict(zip(run.row, vectors.numpy(), strict=True)))
    with TemporaryDirectory() as room:
        folder = Path(room)
        (folder / "adapter_config.json").write_bytes(canonical.dumps(run.adapter.config.to_json()))
        (folder / "adapter_model.safetensors").write_bytes(write.adapter(run.adapter))
        (folder / write.INDEX).write_bytes(index.to_bytes())
        revision = Revision(_lineage(study, run, index), folder, ContributionIndex.open(folder / write.INDEX))
        scorer = Scorer(base_models.locate(study.setting.base))
        rows = []
        for query in study.queries:
            found = measure(scorer, _trace(study, query), revision).scores
            rows.append([found[who] / NAT for who in run.row])
    return np.array(rows)


def _lineage(study: Study, run: TrainingRun, index: ContributionIndex) -> LineageManifest:
    base = Base(study.setting.base, base_models.sha256(study.setting.base))
    return LineageManifest(
        adapter="adapters/lds",
        base=base,
        files={},
        index_root=root(index).hex(),
        snapshots=(),
        spec=study.spec.to_json(),
        contributors=run.records,
        owner=next(iter(run.row)),
        metrics={},
        code="bench",
    )


def _trace(study: Study, query: Example) -> Trace:
    """As if the adapter had said what the query's text says."""
    return Trace(
        response=f"responses/{query.record}",
        base=study.setting.base,
        base_sha256=base_models.sha256(study.setting.base),
        adapter="adapters/lds/revisions/1",
        prompt_token_ids=tuple(query.prompt),
        completion_token_ids=tuple(query.completion),
        sampling={},
        finish_reason="stop",
        payer=f"accounts/{query.contributor}",
        lease="leases/lds",
        fee=0,
        platform_fee=0,
        start_time="2026-01-01T00:00:00Z",
        end_time="2026-01-01T00:00:00Z",
        engine="bench",
    )
