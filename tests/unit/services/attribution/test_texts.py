from __future__ import annotations

import pytest

from openledger import base_models
from services.attribution.texts import Places, Texts
from services.factory.data import load_tokenizer
from tests import tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("base"), layers=1)


@pytest.fixture(scope="module")
def encode(base):
    tokenizer = load_tokenizer(base)
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]


@pytest.mark.parametrize("text", ("It is 2.", "", "  spaces\n", "naïve, 12 €", "家族性 🙂👍🏽 x"))
def test_every_token_lies_where_the_text_has_it(base, encode, text):
    tokens = encode(text)
    places = Texts(str(base)).places(base_models.sha256(str(base)), tokens)
    assert places.text == text
    assert len(places.starts) == len(tokens) + 1
    assert list(places.starts) == sorted(places.starts)
    before = 0
    for character in text:  # the tiny model's tokens are bytes
        size = len(character.encode())
        assert places.starts[before + size] == places.starts[before] + 1
        before += size
    assert places.starts[-1] == len(text)


def test_words_begin_where_they_begin(base, encode):
    text = "Ab, c1 - 🙂d"
    places = Texts(str(base)).places(base_models.sha256(str(base)), encode(text))
    begins = {places.starts[k] for k, word in enumerate(places.word_starts()) if word}
    assert begins == {0, 2, 3, 4, 6, 7, 8, 9, 10, len(text)}, "the last is the end of turn, which has no text"
    assert sum(places.word_starts()) == len(begins), "no word begins within a character"


def test_a_text_of_another_model_is_not_guessed_at(base, encode):
    texts, mine = Texts(str(base)), base_models.sha256(str(base))
    assert texts.places("00" * 32, encode("x")) is None
    assert texts.places(mine, [5, 10**6]) is None
    assert texts.places(mine, []) == Places("", (0,))
