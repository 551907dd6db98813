"""What may be tried for more money than one's texts are worth: each a world that differs from the honest one by that.

Attacker is the first contributor, or somebody new.  Knows what is changed, not what it brings.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.attacks import texts
from bench.attacks.world import RULES, Given, World
from bench.lds.domains import Text

ATTACKER, NEW = 0, 1000
"""Accounts; those from NEW on have no records in the honest world."""
CREDITED = RULES[-1:]


@dataclass(frozen=True)
class Attack:
    """One of them."""

    name: str
    world: World
    before: tuple[int, ...]
    """Accounts whose honest pay it is compared with; none: with an equal part for everybody."""
    after: tuple[int, ...]
    """The attacker's accounts in the attack."""
    rules: Sequence[str] = CREDITED
    """About near-duplicates, with which it is tried."""


Chooser = Callable[[Sequence[Text], Sequence[Text], int], list[Text]]
"""Of candidates those that a model would learn most from of what other texts teach, so many."""
CANDIDATES = 8
"""For each text that an adversary takes."""


def every(honest: World, victim: int, seed: int, steepest: Chooser | None = None) -> Iterator[Attack]:
    """All attacks that need a training, the most telling first.  victim: who has the texts that are worth copying.

    steepest: of an adversary who has the published adapter and its gradients; without it, that attack is left out.
    """
    vocabulary = texts.words_of([given.text for given in honest.records])
    own, theirs = honest.of(ATTACKER), honest.of(victim)

    def added(name: str, more: Sequence[Text], rules: Sequence[str] = CREDITED) -> Attack:
        return Attack(name, _with(honest, ATTACKER, more), (ATTACKER,), (ATTACKER,), rules)

    def newcomer(name: str, given: Sequence[Text]) -> Attack:
        return Attack(name, _with(honest, NEW, given), (), (NEW,))

    def copies(of: Sequence[Text], share: float) -> list[Text]:
        return [Text(text.term, texts.edited(text.text, share, vocabulary, seed)) for text in of]

    count, pair = len(theirs), (ATTACKER, victim)
    wrong = [Text(other.term, text.text) for other, text in zip(_others(honest), own, strict=False)]
    plate = texts.boilerplate([given.text.text for given in honest.records], 2 * count, seed)
    yield _split(honest, 16)
    yield newcomer("noise: random words", [texts.noise(vocabulary, 20, seed + n) for n in range(count)])
    yield added("copy another's, 30% edited", copies(theirs, 0.3), RULES)
    yield newcomer("outlier: long and rare", [texts.gibberish(400, seed + n) for n in range(count)])
    if steepest is not None:
        tried = [texts.noise(vocabulary, 20, seed + 1000 + n) for n in range(CANDIDATES * count)]
        yield newcomer("adversarial: words chosen by gradient", steepest(tried, own, count))
    yield added("copy own, 10% edited", copies(own, 0.1))
    yield Attack("outlier: own texts under others' terms", _instead(honest, wrong), (ATTACKER,), (ATTACKER,))
    yield added("paraphrase another's", [Text(t.term, texts.paraphrased(t.text)) for t in theirs], RULES)
    yield added("copy another's, 0% edited", copies(theirs, 0.0), RULES)
    yield newcomer("noise: random signs", [texts.gibberish(100, seed + n) for n in range(count)])
    yield newcomer("boilerplate, many records", plate)
    yield _split(honest, 2)
    yield Attack("pair: one account", _moved(honest, lambda who: ATTACKER if who == victim else who), pair, (ATTACKER,))
    yield Attack("pair: copies of each other", _mutual(honest, pair, copies), pair, pair, RULES)
    yield added("copy another's, 10% edited", copies(theirs, 0.1), RULES)
    yield added("copy another's, 20% edited", copies(theirs, 0.2), RULES)
    yield _split(honest, 4)


def _with(world: World, who: int, more: Sequence[Text]) -> World:
    """Further records, which come last."""
    return replace(world, records=(*world.records, *(Given(who, text) for text in more)))


def _instead(world: World, given: Sequence[Text]) -> World:
    """The attacker's own records exchanged for others, in their places."""
    new = iter(given)
    return replace(world, records=tuple(Given(ATTACKER, next(new)) if g.who == ATTACKER else g for g in world.records))


def _moved(world: World, to: Callable[[int], int]) -> World:
    return replace(world, records=tuple(Given(to(given.who), given.text) for given in world.records))


def _split(world: World, parts: int) -> Attack:
    accounts, turn = (ATTACKER, *range(NEW, NEW + parts - 1)), itertools.count()
    moved = _moved(world, lambda who: accounts[next(turn) % parts] if who == ATTACKER else who)
    return Attack(f"split in {parts}", moved, (ATTACKER,), accounts)


def _others(world: World) -> list[Text]:
    """One of everybody else's in turn."""
    people = [world.of(who) for who in world.people() if who != ATTACKER]
    return [text for some in itertools.zip_longest(*people) for text in some if text]


def _mutual(world: World, pair: tuple[int, int], copies: Callable[[Sequence[Text], float], list[Text]]) -> World:
    first, second = pair
    return _with(_with(world, first, copies(world.of(second), 0.1)), second, copies(world.of(first), 0.1))
