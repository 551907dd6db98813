"""A world: who gave which texts, in which order, what is asked, and the evidence that its answers give.

One training with everything that a product's training does, scored as receipts are.  What was measured is kept on disk
under what decides it, so that a bench that was stopped goes on.  Knows no attacks and no money.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.lds import domains
from bench.lds.domains import Text
from bench.lds.study import Floats
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


class OutOfTime(Exception):
    """What is not measured yet would take longer than there is time for; what was measured is kept."""


class Laboratory:
    """Where worlds are trained and asked.

    `until`, by time.monotonic: nothing is begun that would end later, judged by the last one. `seconds`: of what was
    measured now, not found, one after the other.
    """

    def __init__(self, setting: Setting, folder: Path | None = None, *, until: float | None = None) -> None:
        self.setting = setting
        self.until = until
        self.seconds: list[float] = []
        self.base = base_models.locate(setting.base)
        self.tokenizer = load_tokenizer(self.base)
        self._cache = folder or cache_folder("attacks")

    def evidence(
        self, world: World, *, seed: int | None = None, queries: Sequence[tuple[str, str]] = ()
    ) -> list[Evidence]:
        """Of each of the world's answers, and then of further ones.  seed: of another training than the setting's.

        Raises OutOfTime.
        """
        setting = self.setting if seed is None else replace(self.setting, seed=seed)
        spec = setting.spec(world.question)
        asked = [*world.queries, *queries]
        key = self._key(spec, world) | {
            "queries": asked,
            "errors": "jackknife",  # of the scores: what is kept of other ones is not found
        }
        found = self._kept(key, lambda: [asdict(each) for each in self._measure(spec, world, asked)])
        return [Evidence(**each) for each in found]

    def steepest(self, world: World, candidates: Sequence[Text], towards: Sequence[Text], count: int) -> list[Text]:
        """Those of the candidates that would change the trained model most in the way that other texts do.

        By the product of a candidate's gradient with the sum of the others': whoever has the published adapter can
        compute it. Raises OutOfTime.
        """
        spec = self.setting.spec(world.question)
        texts = [[[text.term, text.text] for text in some] for some in (candidates, towards)]
        key = self._key(spec, world) | {"steepest": texts}
        products: list[float] = self._kept(key, lambda: self._products(spec, world, candidates, towards))
        order = sorted(range(len(candidates)), key=lambda place: -products[place])
        return [candidates[place] for place in order[:count]]

    def _key(self, spec: FineTuneSpec, world: World) -> dict[str, Any]:
        return {
            "base": base_models.sha256(self.setting.base),
            "spec": spec.to_json(),
            "records": [[given.who, given.text.term, given.text.text] for given in world.records],
        }

    def _kept(self, key: Mapping[str, Any], measure: Callable[[], list[Any]]) -> list[Any]:
        """What was measured under this key, now or before."""
        file = self._cache / f"{canonical.digest(key)}.json"
        if not file.exists():
            begun = time.monotonic()
            if self.until is not None and begun + (self.seconds[-1] if self.seconds else 0.0) > self.until:
                raise OutOfTime
            measured = measure()
            self._cache.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(measured))
            partial.replace(file)
            self.seconds.append(time.monotonic() - begun)
        found: list[Any] = json.loads(file.read_text())
        return found

    def _measure(self, spec: FineTuneSpec, world: World, asked: Sequence[tuple[str, str]]) -> list[Evidence]:
        with self._trained(spec, world) as folder:
            index, scorer = ContributionIndex.open(folder / INDEX), _scorer(self.base)
            return [self._evidence(scorer, folder, index, *each) for each in asked]

    def _products(
        self, spec: FineTuneSpec, world: World, candidates: Sequence[Text], towards: Sequence[Text]
    ) -> list[float]:
        with self._trained(spec, world) as folder:
            wanted = sum(self._gradient(folder, world, text) for text in towards)
            return [float(self._gradient(folder, world, text) @ wanted) for text in candidates]

    def _gradient(self, folder: Path, world: World, text: Text) -> Floats:
        prompt = prompt_ids(render(world.question, {"term": text.term}), self.tokenizer)
        return _scorer(self.base).answer(folder, prompt, self._completion(text.text)).gradient.to_float()

    @contextmanager
    def _trained(self, spec: FineTuneSpec, world: World) -> Iterator[Path]:
        """A folder with what a training publishes."""
        with tempfile.TemporaryDirectory() as scratch:
            train(spec, self._examples(spec, world), self.base, Path(scratch))
            yield Path(scratch)

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
        measured = scorer.answer(folder, prompt_ids(prompt, self.tokenizer), self._completion(answer))
        found = scores(measured.gradient, index)
        return Evidence(measured.nll_base, measured.nll_adapter, found.contributors, found.placebos, found.errors)

    def _completion(self, answer: str) -> tuple[int, ...]:
        return (*self.tokenizer(answer, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id)


@cache
def _scorer(base: Path) -> Scorer:
    return Scorer(base, max_adapters=1)


def address(who: int) -> str:
    """Somebody's made-up account."""
    return f"0x{who:040x}"


def as_json(setting: Setting) -> Mapping[str, Any]:
    """For a result."""
    return asdict(setting)
