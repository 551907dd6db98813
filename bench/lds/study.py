"""What is studied: a domain's contributors, one fine-tune on their records, and the same trained again without some.

Every retraining is kept on disk under what decides it, so a study that was stopped goes on where it stopped. This
module knows no estimators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bench.lds import domains
from openledger import base_models, canonical
from openledger.cache import cache_folder
from openledger.influence.decoder import Decoder
from services.factory.counterfactual import Retraining, halves
from services.factory.data import Example, Record, load_tokenizer, tokenise
from services.factory.passes import Trunk, fastest_precision
from services.factory.spec import FineTuneSpec
from services.factory.training_run import TrainingRun

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Kind = TypeVar("Kind", bound=TrainingRun)

IN_RUN = ("placebos", "curvature_samples", "curvature_share")
"""What of a specification decides how a run is followed, and not how it goes."""


@dataclass(frozen=True)
class Setting:
    """One experiment."""

    name: str
    domain: str = "hpo"
    seed: int = 0
    """Of the choice of texts, of initial weights, batches and subsets."""
    epochs: int = 3
    layers: int = 6
    contributors: int = 16
    records: int = 8
    queries: int = 2
    """Held-out texts a contributor; nobody trains on them."""
    subsets: int = 16
    """Half-subsets of contributors that models are trained on to measure the LDS; no estimator sees them."""
    fitted: int = 0
    """Further half-subsets for estimators that are fitted on retrained models."""
    base: str = "smollm2-135m-instruct"

    def spec(self, question: str, **changes: Any) -> FineTuneSpec:
        """The fine-tune."""
        settings: dict[str, Any] = {
            "base": self.base,
            "epochs": self.epochs,
            "layers": self.layers,
            "seed": self.seed,
            "precision": fastest_precision(),
            "prompt_template": question,
            "completion_template": "{text}",
            "evaluations": 0,
            "held_out": 0.0,
            "max_length": 1024,
        }
        return FineTuneSpec(**(settings | changes))


@dataclass(frozen=True, eq=False)
class Truth:
    """What retraining says."""

    full: npt.NDArray[np.float32]
    """Weights of the model trained on everybody [P]."""
    losses: Floats
    """Of the queries under it [Q]."""
    left_out: npt.NDArray[np.float32]
    """Weights of the models without each contributor [C, P]."""
    rises: Floats
    """By how much the queries' losses are higher without each contributor [Q, C]."""
    masks: Mask
    outcomes: Floats
    """Of held-out half-subsets: members [M, C], and minus the queries' losses [M, Q]."""
    fitted_masks: Mask
    fitted_weights: npt.NDArray[np.float32]
    fitted_outcomes: Floats
    """The same of those that may be learnt from: [K, C], [K, P], [K, Q]."""


class Study:
    """One setting, with its data and base in memory."""

    def __init__(self, setting: Setting, cache: Path | None = None, **changes: Any) -> None:
        """changes: of the specification."""
        self.setting = setting
        self.domain = domains.load(setting.domain, setting.contributors, setting.records, setting.queries, setting.seed)
        base = base_models.locate(setting.base)
        self.spec = setting.spec(self.domain.question, **changes)
        self.training, self.queries = self._examples(load_tokenizer(base))
        self.decoder = Decoder.load(base)
        self._cache = (cache or cache_folder("lds")) / self._what_decides_a_retraining()

    def _what_decides_a_retraining(self) -> str:
        data = {name: getattr(self.setting, name) for name in ("domain", "seed", "contributors", "records", "queries")}
        usual = FineTuneSpec().to_json()  # left out, so that a field added to specifications changes no key
        spec = {n: value for n, value in self.spec.to_json().items() if n not in IN_RUN and value != usual[n]}
        return canonical.digest({"data": data, "spec": spec, "base": base_models.sha256(self.setting.base)})

    def _examples(self, tokenizer: Any) -> tuple[list[Example], list[Example]]:
        kept: list[list[Example]] = [[], []]
        for c, contributor in enumerate(self.domain.contributors):
            for place, texts in enumerate((contributor.records, contributor.held_out)):
                records = [
                    Record(f"{c:03}-{place}-{i:03}", address(c), {"term": text.term, "text": text.text})
                    for i, text in enumerate(texts)
                ]
                tokenised = tokenise(records, self.spec, tokenizer)
                if tokenised.refused:
                    raise ValueError(f"{contributor.name}: {tokenised.refused[0].reason}")
                kept[place] += tokenised.examples
        return kept[0], kept[1]

    @cached_property
    def trunk(self) -> Trunk:
        """The frozen layers' output for all records and queries: once for every training."""
        trunk = Trunk(self.decoder, self.decoder.layers - self.spec.layers if self.spec.layers else 0)
        trunk.prepare([*self.training, *self.queries], "float32", lambda _: None)
        return trunk

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """Contributor of each training record [N]."""
        return np.array([int(example.contributor, 16) for example in self.training])

    def run(self, kind: type[Kind]) -> Kind:
        """The fine-tune itself, before its first step."""
        run = kind(self.spec, self.decoder, self.training)
        run.trunk = self.trunk
        return run

    def truth(self, on_progress: Callable[[int, int], None] = lambda *_: None) -> Truth:
        """Retrain, or find it retrained."""
        people = self.setting.contributors
        everyone = np.ones((1, people), dtype=bool)
        drawn = halves(people, self.setting.subsets + self.setting.fitted, self.setting.seed + 1)
        masks = np.concatenate([everyone, ~np.eye(people, dtype=bool), drawn])
        results = []
        for number, mask in enumerate(masks):
            on_progress(number, len(masks))
            results.append(self._retrained(mask))
        weights = np.stack([theta for theta, _ in results])
        losses = np.stack([loss for _, loss in results])
        first, second = 1 + people, 1 + people + self.setting.subsets
        return Truth(
            full=weights[0],
            losses=losses[0],
            left_out=weights[1:first],
            rises=(losses[1:first] - losses[0]).T,
            masks=masks[first:second],
            outcomes=-losses[first:second],
            fitted_masks=masks[second:],
            fitted_weights=weights[second:],
            fitted_outcomes=-losses[second:],
        )

    def _retrained(self, mask: Mask) -> tuple[npt.NDArray[np.float32], Floats]:
        file = self._cache / ("".join("01"[bit] for bit in mask.tolist()) + ".npz")
        if not file.exists():
            without = [address(c) for c in np.flatnonzero(~mask).tolist()]
            theta, losses = Retraining(self.spec, self.trunk, self.training).run(without, self.queries)
            self._cache.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, theta=theta.numpy(), losses=losses.double().numpy())
            partial.replace(file)
        with np.load(file) as found:
            return found["theta"], found["losses"]


def address(contributor: int) -> str:
    """The contributor's made-up account."""
    return f"0x{contributor:040x}"
