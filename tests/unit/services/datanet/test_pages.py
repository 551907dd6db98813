from __future__ import annotations

import base64

import pytest

from services.datanet import pages
from services.kit.errors import Fault


def test_a_token_leads_on_where_it_was_made():
    assert pages.after("q", pages.token("q", [7, "terms"]), [int, str]) == (7, "terms")
    assert pages.after("q", "", [int]) is None


@pytest.mark.parametrize(
    "token",
    (
        "???",
        "e30=",
        "bnVsbA==",
        "5",
        "é",
        pages.token("other", [7]),
        pages.token("q", ["7"]),
        pages.token("q", [7, 8]),
        pages.token("q", [True]),
        pages.token("q", [2**63]),
        pages.token("q", [float("inf")]),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
    ),
)
def test_any_other_token_is_refused(token):
    with pytest.raises(Fault) as caught:
        pages.after("q", token, [int])
    assert caught.value.reason == "BAD_PAGE_TOKEN"


def test_a_page_ends_at_its_size_or_its_weight_and_says_whether_there_is_more():
    assert pages.cut([1, 1, 1], 2, int) == ([1, 1], True)
    assert pages.cut([1, 1], 2, int) == ([1, 1], False)
    assert pages.cut([5, 5, 5], 3, int, most=10) == ([5, 5], True)
    assert pages.cut([50, 5], 2, int, most=10) == ([50], True)
    assert pages.cut([], 2, int) == ([], False)


@pytest.mark.parametrize("name", ("\ud800", "\0", "a b", ""))
def test_a_token_with_a_text_that_is_no_name_never_reaches_a_database(name):
    with pytest.raises(Fault, match="page_token"):
        pages.after("q", pages.token("q", [7, name]), [int, str])
