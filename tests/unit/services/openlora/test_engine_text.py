"""Text of growing answers: whole characters only, no stop text, and in the end what decoding all tokens gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.openlora.engine import ChatMessage, FinishReason, RequestRejected
from services.openlora.engine_text import AnswerText, TextCodec, end_tokens
from tests import tiny_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("base"), layers=1, width=32)


@pytest.fixture(scope="session")
def codec(base: Path) -> TextCodec:
    return TextCodec(base)


def grow(codec: TextCodec, tokens: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], AnswerText]:
    answer = AnswerText(codec, stop)
    return [*(answer.push(token) for token in tokens if not answer.stopped), answer.finish()], answer


@given(tokens=st.lists(st.integers(0, 258), max_size=90))
def test_the_pieces_of_any_tokens_are_their_text(codec, tokens):
    assert "".join(grow(codec, tokens)[0]) == codec.decode(tokens)


@given(text=st.text(max_size=60))
def test_no_piece_of_a_text_has_half_a_character(codec, text):
    pieces = grow(codec, list(codec.tokenize(text)))[0]
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_a_character_comes_as_soon_as_it_is_whole(codec):
    pieces = grow(codec, list(codec.tokenize("a€🙂b")))[0]
    assert pieces == ["a", "", "", "€", "", "", "", "🙂", "b", ""]


def test_a_long_run_of_broken_bytes_is_shown_as_it_comes(codec):
    lone = codec.tokenize("\u0080")[1]  # a byte that only continues others
    pieces = grow(codec, [lone] * 500)[0]
    assert "".join(pieces) == codec.decode([lone] * 500)
    assert len("".join(pieces[:400])) > 390


@given(text=st.text("abc", max_size=40), stop=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_text_goes_up_to_the_first_stop_text(codec, text, stop):
    tokens = list(codec.tokenize(text))
    pieces, answer = grow(codec, tokens, tuple(stop))
    ends = [at for word in stop if (at := text.find(word)) >= 0]
    assert answer.stopped == bool(ends)
    if not ends:
        assert "".join(pieces) == text
    else:
        # The first to be complete wins, which for overlapping stop texts may begin later than another one.
        shown = "".join(pieces)
        assert text.startswith(shown)
        assert not any(word in shown for word in stop)
        assert any(text.startswith(word, len(shown)) for word in stop)


def test_what_may_begin_a_stop_text_is_held_until_it_is_decided(codec):
    assert grow(codec, list(codec.tokenize("xSTAY STOP")), ("STOP",))[0][:5] == ["x", "", "", "STA", "Y"]


def test_feeding_ends_with_the_token_that_completes_a_stop_text(codec):
    delta = AnswerText(codec, ("lo",)).feed(codec.tokenize("hello world"), None)
    assert (len(delta.token_ids), delta.text, delta.finish_reason) == (5, "hel", FinishReason.STOP)


def test_feeding_the_last_tokens_gives_what_was_held(codec):
    answer = AnswerText(codec, ("STOP",))
    assert answer.feed(codec.tokenize("a ST"), None).text == "a "
    last = answer.feed(codec.tokenize("€")[:2], FinishReason.LENGTH)
    assert (last.text, last.finish_reason) == ("ST\ufffd", FinishReason.LENGTH)


def test_control_tokens_are_no_text(codec):
    assert grow(codec, [*codec.tokenize("a"), 2, *codec.tokenize("b")])[0] == ["a", "", "b", ""]


def test_the_end_tokens_are_those_of_the_model(base):
    assert end_tokens(base) == {2}


CONVERSATIONS = st.lists(
    st.builds(ChatMessage, st.sampled_from(["system", "user"]), st.text(max_size=20)), min_size=1, max_size=4
)


@given(turns=CONVERSATIONS)
def test_around_what_the_last_turn_says_is_the_conversation(codec, turns):
    """The tiny model's tokens are bytes, so no token spans the place where text can come in."""
    before, after = codec.around(turns)
    assert (*before, *after) == codec.tokenize_chat(turns)
    said = codec.encode(turns[-1].content)
    assert after[: len(said)] == said


@given(prompt=st.text(max_size=40))
def test_around_a_prompt_is_what_the_tokenizer_puts_before_every_text(codec, prompt):
    before, after = codec.around(prompt)
    assert (*before, *after) == codec.tokenize(prompt)
    assert after == codec.encode(prompt)


def test_control_tokens_in_what_comes_in_stay_text(codec):
    assert 2 in codec.tokenize_chat([ChatMessage("user", "hm")])
    assert not {0, 1, 2} & set(codec.encode("<|im_end|><|im_start|>system"))


def test_a_template_that_leaves_out_the_last_turn_is_refused(codec, monkeypatch):
    monkeypatch.setattr(codec._tokenizer, "apply_chat_template", lambda *_, **__: "hello")
    with pytest.raises(RequestRejected, match="leaves out"):
        codec.around([ChatMessage("user", "hm")])
