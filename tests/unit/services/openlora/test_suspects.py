"""Who is let in beside whom after a death, and who is not let in any more."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from services.openlora.engine import AdapterRef, EngineRequest, Sampling
from services.openlora.suspects import Isolation, Suspects, adapter_mark, request_mark

A, B, C = b"a", b"b", b"c"


def die(suspects: Suspects, *marks: bytes, now: float = 0.0) -> None:
    for mark in marks:
        suspects.enter(mark)
    suspects.died(now)
    for mark in marks:
        suspects.leave(mark)


def test_newcomers_may_be_with_anybody():
    suspects = Suspects()
    for mark in (A, B, A):
        assert suspects.may_enter(suspects.isolation(mark, 0), 0)
        suspects.enter(mark)


def test_whoever_was_there_is_let_in_beside_newcomers_but_no_other_suspect():
    suspects = Suspects()
    die(suspects, A, B)
    assert suspects.isolation(A, 1) is suspects.isolation(B, 1) is Isolation.APART
    suspects.enter(A)
    assert not suspects.may_enter(Isolation.APART, 1)
    assert suspects.may_enter(Isolation.NONE, 1)
    suspects.leave(A)
    assert suspects.may_enter(Isolation.APART, 1)


def test_whoever_was_there_twice_is_let_in_alone_and_before_those_who_come_after():
    suspects = Suspects()
    die(suspects, A, B)
    die(suspects, A, C)
    assert suspects.isolation(A, 1) is Isolation.ALONE
    suspects.enter(B)
    assert not suspects.may_enter(Isolation.ALONE, 1)
    with suspects.waiting(Isolation.ALONE):
        assert not suspects.may_enter(Isolation.NONE, 1)
        suspects.leave(B)
        assert suspects.may_enter(Isolation.ALONE, 1)
    suspects.enter(A)
    assert not suspects.may_enter(Isolation.NONE, 1)


def test_two_deaths_alone_are_its_doing():
    suspects = Suspects(keep=600)
    die(suspects, A, B)
    die(suspects, A, now=10)
    assert not suspects.poisonous(A, 10), "it may be the machine that killed"
    die(suspects, A, now=20)
    assert suspects.poisonous(A, 30) == 590
    assert not suspects.poisonous(B, 30)


def test_company_is_never_guilt():
    # Whoever is sent again and again together with the poison, and never dies alone, is not condemned.
    suspects = Suspects()
    for poison in (b"p1", b"p2", b"p3", b"p4"):
        die(suspects, A, poison)
    assert not suspects.poisonous(A, 0)


def test_an_answer_clears():
    suspects = Suspects()
    die(suspects, A, B)
    suspects.answered(A)
    assert suspects.isolation(A, 0) is Isolation.NONE
    die(suspects, A)
    assert not suspects.poisonous(A, 0)


def test_suspicion_and_guilt_end_with_time():
    suspects = Suspects(keep=600)
    die(suspects, A)
    die(suspects, A, now=1)
    assert suspects.poisonous(A, 600)
    assert not suspects.poisonous(A, 601)
    assert suspects.isolation(A, 601) is Isolation.NONE


def test_only_the_latest_are_remembered():
    suspects = Suspects(most=3)
    for number in range(5):
        die(suspects, bytes([number]), now=number)
    assert [bool(suspects.isolation(bytes([n]), 5)) for n in range(5)] == [False, False, True, True, True]


def test_one_poison_among_many_is_found_and_nobody_else_whatever_the_order():
    # Each request is sent again until it is answered or refused, as clients do; poison kills whatever it enters.
    for seed in range(200):
        rng, suspects, now = random.Random(seed), Suspects(), 0.0
        poison = {bytes([number]) for number in range(rng.randint(1, 3))}
        waiting = [bytes([number]) for number in range(20)]
        answered: set[bytes] = set()
        refused: set[bytes] = set()
        inside: list[bytes] = []
        while waiting or inside:
            now += 1
            rng.shuffle(waiting)
            for mark in list(waiting):
                if suspects.poisonous(mark, now):
                    refused.add(mark)
                    waiting.remove(mark)
                elif len(inside) < 8 and suspects.may_enter(suspects.isolation(mark, now), now):
                    suspects.enter(mark)
                    inside.append(mark)
                    waiting.remove(mark)
            if poison & {*inside} and rng.random() < 0.5:
                suspects.died(now)
                for mark in inside:
                    suspects.leave(mark)
                waiting, inside = waiting + inside, []
            elif fine := [mark for mark in inside if mark not in poison]:
                mark = rng.choice(fine)
                suspects.answered(mark)
                suspects.leave(mark)
                inside.remove(mark)
                answered.add(mark)
        assert refused == poison
        assert answered == {bytes([number]) for number in range(20)} - poison


def test_marks_are_what_is_asked_and_not_the_id():
    adapter = AdapterRef("d" * 64, Path("here"))
    request = EngineRequest("r1", (1, 2), Sampling(5), adapter)
    assert request_mark(request) == request_mark(replace(request, id="r2"))
    others = [
        replace(request, prompt_token_ids=(1, 3)),
        replace(request, sampling=Sampling(6)),
        replace(request, adapter=None),
        replace(request, adapter=AdapterRef("e" * 64, Path("here"))),
    ]
    assert len({request_mark(request), *map(request_mark, others), adapter_mark(adapter)}) == 6
