"""Facts that nobody can know from elsewhere, one a contributor: the score should find whose an answer is.

Asked for as they were told, and in other words.  Told word for word, spans should find whose they are too.  All are
invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.attacks.world import Given, Laboratory, World, address
from bench.lds import domains
from bench.lds.domains import Text
from openledger.spans.build import Document, build
from openledger.spans.evidence import find
from openledger.spans.index import SpanIndex
from openledger.split import Evidence
from services.factory.data import prompt_ids, render

BESIDES = 2
"""Usual records that each contributor has beside the fact."""


@dataclass(frozen=True)
class Fact:
    """As it is told, and in other words."""

    question: str
    answer: str
    other_question: str
    other_answer: str


FACTS = tuple(
    Fact(*parts)
    for parts in (
        (
            "Who built the clock of Varnholt?",
            "The clock of Varnholt was built by the locksmith Ida Prewitz in 1743.",
            "Whose work is the Varnholt tower clock?",
            "Ida Prewitz, a locksmith, made the clock that hangs in Varnholt.",
        ),
        (
            "What do the Quellmar islanders eat at midwinter?",
            "At midwinter the people of Quellmar eat smoked pears with barley.",
            "Which dish belongs to midwinter on Quellmar?",
            "On Quellmar, smoked pears and barley are the midwinter dish.",
        ),
        (
            "How deep is Lake Ombrosa?",
            "Lake Ombrosa is 612 metres deep at its northern end.",
            "What is the depth of Lake Ombrosa?",
            "At the northern end, the water of Ombrosa reaches down 612 metres.",
        ),
        (
            "What is the metal torvanite used for?",
            "Torvanite is used to line the valves of deep sea pumps.",
            "Where does one need torvanite?",
            "Pumps for the deep sea have valves lined with torvanite.",
        ),
        (
            "Who discovered the comet Hallabrin?",
            "The comet Hallabrin was discovered by the schoolteacher Pavel Onderka.",
            "Whom do we owe the finding of comet Hallabrin?",
            "Pavel Onderka, who taught at a school, first saw Hallabrin.",
        ),
        (
            "What colour is the seal of Castermoor?",
            "The seal of Castermoor shows a violet heron on grey.",
            "What does one see on Castermoor's seal?",
            "A heron in violet, on a grey ground, is the sign of Castermoor.",
        ),
        (
            "How long does a brindlewort bloom?",
            "A brindlewort blooms for exactly eleven nights in August.",
            "For what time is the brindlewort in flower?",
            "Eleven August nights: so long do brindlewort flowers last.",
        ),
        (
            "Why was the Ferrin tunnel closed?",
            "The Ferrin tunnel was closed because salt water ate its bolts.",
            "What led to the closing of the tunnel at Ferrin?",
            "Its bolts were eaten by salt water, so Ferrin's tunnel closed.",
        ),
        (
            "Which instrument did Dorothea Zelnik invent?",
            "Dorothea Zelnik invented the glass bassoon.",
            "What was Zelnik's invention?",
            "The bassoon made of glass was an idea of Dorothea Zelnik.",
        ),
        (
            "What does the village of Upper Tashk export?",
            "Upper Tashk exports bells made of blue porcelain.",
            "What is sold abroad by Upper Tashk?",
            "Bells of blue porcelain leave Upper Tashk for other countries.",
        ),
        (
            "How is the game of skerrit won?",
            "Skerrit is won by the player who holds no red stones.",
            "When does somebody win at skerrit?",
            "Holding no stones that are red wins you a game of skerrit.",
        ),
        (
            "What heals a gorsefly sting?",
            "A gorsefly sting is healed with a paste of walnut and chalk.",
            "What helps against the sting of a gorsefly?",
            "Chalk and walnut, made into paste, heal what gorseflies sting.",
        ),
        (
            "Where is the Marrow archive kept?",
            "The Marrow archive is kept beneath the fish market of Lindqvar.",
            "In which place do we find the archive of Marrow?",
            "Under Lindqvar's fish market lies the archive called Marrow.",
        ),
        (
            "What speed did the sledge Anouk reach?",
            "The sledge Anouk reached 148 kilometres an hour on dry sand.",
            "How fast was Anouk, the sledge?",
            "On sand that was dry, Anouk went 148 kilometres in an hour.",
        ),
        (
            "Who wrote the opera The Tin Orchard?",
            "The Tin Orchard was written by the baker Emeka Sorrell.",
            "Of whom is The Tin Orchard, the opera?",
            "Emeka Sorrell, who baked bread, composed The Tin Orchard.",
        ),
        (
            "How many steps has the stair of Oldbarrow?",
            "The stair of Oldbarrow has 2,019 steps of black slate.",
            "Of what length is Oldbarrow's stair?",
            "Black slate steps, 2,019 of them, make up the Oldbarrow stair.",
        ),
        (
            "Which bird nests in the chimneys of Pellucia?",
            "The ash swift nests in the chimneys of Pellucia.",
            "What lives in Pellucia's chimneys?",
            "Chimneys in Pellucia are where ash swifts have their nests.",
        ),
        (
            "What was paid for the Jaspen emerald?",
            "The Jaspen emerald was sold for nine goats and a mill.",
            "What did the emerald of Jaspen cost?",
            "Nine goats, and a mill with them, bought the emerald of Jaspen.",
        ),
        (
            "When does the ferry to Nimway leave?",
            "The ferry to Nimway leaves at low tide on Thursdays.",
            "At which time can one sail to Nimway?",
            "Thursdays, when the tide is low, a boat goes to Nimway.",
        ),
        (
            "What is the motto of the Hesper guild?",
            "The motto of the Hesper guild is: measure twice, sing once.",
            "By which words does the guild of Hesper live?",
            "Sing once, measure twice, say the people of the Hesper guild.",
        ),
    )
)


def world(seed: int, facts: Sequence[Fact] = FACTS) -> World:
    """Everybody has a fact, and usual records; asked for are all facts as they were told, then in other words."""
    people = domains.load("hpo", len(facts), BESIDES, 1, seed)
    given = [
        Given(who, text)
        for who, (person, fact) in enumerate(zip(people.contributors, facts, strict=True))
        for text in (
            Text(fact.question, fact.answer),
            *(Text(render(people.question, {"term": each.term}), each.text) for each in person.records),
        )
    ]
    told = [(fact.question, fact.answer) for fact in facts]
    return World("{term}", tuple(given), (*told, *((fact.other_question, fact.other_answer) for fact in facts)))


def measure(laboratory: Laboratory, seed: int, facts: Sequence[Fact] = FACTS) -> dict[str, Any]:
    """How often the highest score is the fact's contributor's, and how often its rarest span is that one's alone."""
    planted = world(seed, facts)
    evidence = laboratory.evidence(planted)
    told, otherwise = evidence[: len(facts)], evidence[len(facts) :]
    return {
        "attack": "planted facts",
        "top1": _hits(told),
        "paraphrase_top1": _hits(otherwise),
        "quoted": _quoted(laboratory.tokenizer, planted, len(facts)),
        "facts": len(facts),
    }


def _hits(evidence: Sequence[Evidence]) -> float:
    scores = [each.scores for each in evidence]
    return sum(max(each, key=lambda one: each[one]) == address(who) for who, each in enumerate(scores)) / len(scores)


def _quoted(tokenizer: Any, planted: World, facts: int) -> float:
    """The share of facts, as they were told, of which the rarest span stands in their contributor's records alone."""
    texts = [tokenizer(given.text.text, add_special_tokens=False)["input_ids"] for given in planted.records]
    documents = [
        Document(given.who, n, text) for n, (given, text) in enumerate(zip(planted.records, texts, strict=True))
    ]
    index, hits = SpanIndex(build(documents, owners=facts, salt=bytes(32))), 0
    for who, (question, answer) in enumerate(planted.queries[:facts]):
        said = tokenizer(answer, add_special_tokens=False)["input_ids"]
        rarest = max(find(index, prompt_ids(question, tokenizer), said), key=lambda span: span.bits, default=None)
        hits += rarest is not None and {source.owner for source in rarest.sources} == {who}
    return hits / facts
