from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger.cli.demo import hpo
from services.datanet.checks.quality import LONG, LONGER, RULES, Quality, broken_rule
from services.datanet.draft import Draft
from services.datanet.model import Policy
from tests.needs import needs


def words(count: int, start: int = 0, letters: int = 5) -> list[str]:
    """So many different words, each of as many letters."""
    numbers = ((n + 1) * 7_654_321 % 26**letters for n in range(start, start + count))
    return ["".join(chr(97 + number // 26**k % 26) for k in range(letters)) for number in numbers]


def text(count: int, more: str = "", *, letters: int = 5) -> str:
    return " ".join([*words(count, letters=letters), more])


def lines(count: int, start: int = 0, *, begins: str = "", ends: str = "") -> list[str]:
    """Lines of eight words, all different."""
    return [begins + " ".join(words(8, 8 * n)) + ends for n in range(start, start + count)]


def few(count: int, again: int) -> list[str]:
    """Lines of four short words, of which some stand twice, and long words in lines that are too short to count."""
    short = [" ".join(words(4, 4 * n, letters=4)) for n in range(count)]
    return short + short[:1] * again + words(80, letters=9)


def phrase(count: int) -> str:
    """400 characters in 80 words, and among them so many times two words of 10 characters together."""
    return " ".join([f"{word} zzzzy zzzzx" for word in words(count)] + words(80 - count, count))


CASES = (
    ("lorem_ipsum", "Lorem: ipsum.", "Read this: Lorem Ipsum dolor"),
    ("overrides", "abc \u05d0\u05d1", "abc \u202e\u05d0"),
    ("broken_characters", "x" + "abcdefg" * 14 + "\ufffd", "abcdefg" * 14 + "\ufffd"),
    ("one_character", "aaaaa bcdef", "aaaaaa bcde"),
    ("one_word", "no no no no it is not so", "no no no no no it is not"),
    ("repeated_lines", "\n".join(few(7, 3)), "\n".join(few(7, 4))),
    ("repeated_lines", "\n".join(lines(20) + lines(2)), "\n".join(lines(18) + lines(2))),
    ("frequent_phrases", phrase(10), phrase(11)),
    ("repeated_phrases", text(180, text(20)), text(179, text(20))),
    ("directions", text(50, "\u05d0"), text(50, "\u2067\u05d0\u2069")),
    ("few_letters", text(40, " ".join(map(str, range(100, 110)))), text(40, " ".join(map(str, range(100, 111))))),
    ("word_length", text(60, letters=10), text(60, letters=11)),
    ("word_length", text(60, letters=3), " ".join(w[:2] + chr(945 + n) * (n > 60) for n, w in enumerate(words(60)))),
    ("symbols", text(60, "#" * 6), text(60, "#" * 7)),
    ("bullets", "\n".join(lines(9, begins="\u2022") + lines(1, 9)), "\n".join(lines(10, begins="\u2022"))),
    ("ellipses", "\n".join(lines(3, ends="...") + lines(7, 3)), "\n".join(lines(4, ends="\u2026") + lines(6, 4))),
)


@pytest.mark.parametrize(("rule", "keeps", "breaks"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_holds_to_its_number(rule, keeps, breaks):
    assert broken_rule(keeps) is None
    broken = broken_rule(breaks)
    assert broken is not None
    assert broken.id == rule


def test_every_rule_is_tried():
    assert {case[0] for case in CASES} == {rule.id for rule in RULES}


@pytest.mark.parametrize(
    "said",
    (
        "",
        "HP:0000003",
        "2 + 2 = 4",
        "\u53d1\u70e7\u75c5",
        "- one\n- two\n- three",
        "A duplication of the middle phalanx of hand.",
        "Yes.",
        "so so so",
        "\n".join(["-" * 3] * 9),
    ),
)
def test_what_is_short_is_not_held_to_the_rules_of_pages(said):
    broken = broken_rule(said)
    assert broken is None or broken.id == "one_character"


def test_a_page_begins_at_fifty_words_and_its_phrases_count_from_a_hundred():
    assert broken_rule(text(LONG - 2, "#" * 30)) is None
    assert broken_rule(text(LONG - 1, "#" * 30)).id == "symbols"  # type: ignore[union-attr]
    assert broken_rule(" ".join((words(9) * 12)[: LONGER - 1])) is None
    assert broken_rule(" ".join((words(9) * 12)[:LONGER])).id == "frequent_phrases"  # type: ignore[union-attr]


def test_what_refuses_is_said_before_what_is_noted():
    both = text(60, "#" * 30 + " lorem ipsum")
    assert broken_rule(both).id == "lorem_ipsum"  # type: ignore[union-attr]


def test_a_finding_names_the_rule_and_not_the_text():
    refused = Quality().look(Draft(0, {"a": "", "b": "Lorem ipsum secretword"}), Policy())
    noted = Quality().look(Draft(0, {"a": text(60, "#" * 7)}), Policy())
    assert (refused.passed, refused.reason, refused.value) == (False, "LOW_QUALITY", "lorem_ipsum")
    assert (noted.passed, noted.reason, noted.value) == (True, "", "symbols")
    assert "secretword" not in refused.message
    assert Quality().look(Draft(0, {"a": "Fever."}), Policy()).message == ""


@given(st.text(max_size=400))
def test_any_text_is_judged(said):
    Quality().look(Draft(0, {"a": said}), Policy())


@needs("hpo")
def test_definitions_that_people_wrote_are_not_refused():
    curators = hpo.load(20, 30).curators
    said = [definition.text for curator in curators for definition in curator.definitions]
    refused = [text for text in said if not Quality().look(Draft(0, {"text": text}), Policy()).passed]
    assert len(refused) * 200 <= len(said)
