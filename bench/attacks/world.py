"""A world: who gave which texts, in which order, what is asked, and the evidence that its answers give.

One training with everything that a product's training does, scored as receipts are.  What was measured is kept on disk
under what decides it, so that a bench that was stopped goes on.  Knows no attacks and no money.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.lds import domains
from bench.lds.domains import Text
from openledger import base_models, canonical, clusters
from openledger.cache import cache_folder
from openledger.influence.gradient import Scorer
from openledger.influence.index import ContributionIndex
from openledger.influence.score import scores
from openledger.split import Evidence
from services.factory.data import Example, Record, load_tokenizer, prompt_ids, render, tokenise
from services.factory.passes import fastest_precision
from services.factory.spec import FineTuneSpec
from services.factory.train import train
from services.factory.write import INDEX

RULES = ("none", "credited")
"""What is done about near-duplicates: nothing; each is credited to the author of the first of its kind."""


@dataclass(frozen=True)
class Setting:
    """How a world is made and trained on."""

    name: str
    domain: str = "hpo"
    base: str = "smollm2-135m-instruct"
    contributors: int = 10
    records: int = 6
    """Of each but the attacker."""
    attackers: int = 16
    """Records of the attacker, who is the first: as many as it may split into accounts."""
    queries: int = 2
    """Held-out texts a contributor, whose answers are asked for; nobody trains on them."""
    epochs: int = 3
    layers: int = 6
    seed: int = 0

    def spec(self, question: str) -> FineTuneSpec:
        """The fine-tune, the product's defaults but for what has to be."""
        return FineTuneSpec(
            base=self.base,
            epochs=self.epochs,
            layers=self.layers,
            seed=self.seed,
            precision=fastest_precision(),
            prompt_template=question,
            completion_template="{text}",
            evaluations=0,
            held_out=0.0,
            max_length=1024,
        )


@dataclass(frozen=True)
class Given:
    """A record, and who gave it."""

    who: int
    text: Text


@dataclass(frozen=True)
class World:
    """Records in the order of their registration, and questions with the answers that are given to them."""

    question: str
    records: tuple[Given, ...]
    queries: tuple[tuple[str, str], ...]
    """Prompt and answer."""

    def people(self) -> list[int]:
        """Whoever gave something."""
        return sorted({given.who for given in self.records})

    def of(self, who: int) -> list[Text]:
        """What somebody gave."""
        return [given.text for given in self.records if given.who == who]

    def credited(self) -> World:
        """The same, with every near-duplicate as its first author's."""
        firsts = clusters.first(given.text.text for given in self.records)
        return replace(
            self,
            records=tuple(
                Given(self.records[first].who, given.text) for first, given in zip(firsts, self.records, strict=True)
            ),
        )


def honest(setting: Setting) -> World:
    """Everybody with records of their own; what reads alike is the first author's, as in the product."""
    most = max(setting.records, setting.attackers)
    people = domains.load(setting.domain, setting.contributors, most, setting.queries, setting.seed)
    return World(
        people.question,
        tuple(
            Given(who, text)
            for who, person in enumerate(people.contributors)
            for text in person.records[: setting.records if who else setting.attackers]
        ),
        tuple(
            (render(people.question, {"term": text.term}), text.text)
            for person in people.contributors
            for text in person.held_out
        ),
    ).credited()


class Laboratory:
    """Where worlds are trained and asked."""

    def __init__(self, setting: Setting, folder: Path | None = None) -> None:
        self.setting = setting
        self.base = base_models.locate(setting.base)
        self.tokenizer = load_tokenizer(self.base)
        self._cache = folder or cache_folder("attacks")

    def evidence(
        self, world: World, *, seed: int | None = None, queries: Sequence[tuple[str, str]] = ()
    ) -> list[Evidence]:
        """Of each of the world's answers, and then of further ones.  seed: of another training than the setting's."""
        setting = self.setting if seed is None else replace(self.setting, seed=seed)
        spec = setting.spec(world.question)
        asked = [*world.queries, *queries]
        key = {
            "base": base_models.sha256(setting.base),
            "spec": spec.to_json(),
            "records": [[given.who, given.text.term, given.text.text] for given in world.records],
            "queries": asked,
            "errors": "jackknife",  # of the scores: what is kept of other ones is not found
        }
        file = self._cache / f"{canonical.digest(key)}.json"
        if not file.exists():
            measured = [asdict(found) for found in self._measure(spec, world, asked)]
            self._cache.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(measured))
            partial.replace(file)
        return [Evidence(**found) for found in json.loads(file.read_text())]

    def _measure(self, spec: FineTuneSpec, world: World, asked: Sequence[tuple[str, str]]) -> list[Evidence]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            train(spec, self._examples(spec, world), self.base, folder)
            index, scorer = ContributionIndex.open(folder / INDEX), _scorer(self.base)
            return [self._evidence(scorer, folder, index, *each) for each in asked]

    def _examples(self, spec: FineTuneSpec, world: World) -> Sequence[Example]:
        records = [
            Record(f"{place:05}", address(given.who), {"term": given.text.term, "text": given.text.text})
            for place, given in enumerate(world.records)
        ]
        found = tokenise(records, spec, self.tokenizer)
        if found.refused:
            raise ValueError(f"a record of the attack cannot be used: {found.refused[0].reason}")
        # Whoever the world says: near-duplicates too, so that one sees what crediting their first author is worth.
        return [replace(e, contributor=address(world.records[int(e.record)].who)) for e in found.examples]

    def _evidence(self, scorer: Scorer, folder: Path, index: ContributionIndex, prompt: str, answer: str) -> Evidence:
        completion = (*self.tokenizer(answer, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id)
        measured = scorer.answer(folder, prompt_ids(prompt, self.tokenizer), completion)
        found = scores(measured.gradient, index)
        return Evidence(measured.nll_base, measured.nll_adapter, found.contributors, found.placebos, found.errors)


@cache
def _scorer(base: Path) -> Scorer:
    return Scorer(base, max_adapters=1)


def address(who: int) -> str:
    """Somebody's made-up account."""
    return f"0x{who:040x}"


def as_json(setting: Setting) -> Mapping[str, Any]:
    """For a result."""
    return asdict(setting)
