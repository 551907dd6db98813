"""Between text and token ids, for every engine alike: prompts, conversations, and answers as they grow.

What people type never becomes a control token: control ids come from the chat template alone. What it does not know:
any particular model; it reads tokenizer and template from the base model's folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.openlora.engine import ChatMessage, EngineDelta, FinishReason, RequestRejected, TokenLogprobs

ROLES = frozenset({"system", "user", "assistant"})
REPLACEMENT = "\ufffd"
"""What incomplete UTF-8 decodes to."""


class TextCodec:
    """A base model's tokenizer and chat template."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._ids = self._tokenizer.backend_tokenizer
        # Control tokens written out in a text are encoded like any other text; see `_encode`.
        self._ids.encode_special_tokens = True
        self._control: dict[str, int] = {
            str(token): number for number, token in self._tokenizer.added_tokens_decoder.items() if token.special
        }

    def tokenize(self, prompt: str) -> tuple[int, ...]:
        """Token ids of a prompt as it stands, with what the model's tokenizer puts before every text, if anything."""
        return tuple(self._ids.encode(prompt, add_special_tokens=True).ids)

    def tokenize_chat(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """Token ids of a conversation, up to where the assistant speaks.

        The same as rendering and encoding the template in one go, except that control tokens in the messages stay text.

        Raises:
            RequestRejected: no message, an unknown role, or a conversation that the template refuses.
        """
        return self._control_ids(self._pieces(messages)[0])

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text by itself, without anything before or after it."""
        return tuple(self._encode(text))

    def around(self, asked: str | Sequence[ChatMessage]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of a prompt, or of a conversation, before and after the place where other text can come in.

        That is where the prompt begins, and where what the last turn says begins.

        Raises:
            RequestRejected: as `tokenize_chat`.
        """
        if isinstance(asked, str):
            found = self._ids.encode(asked, add_special_tokens=True)
            first = next((at for at, special in enumerate(found.special_tokens_mask) if not special), len(found.ids))
            return tuple(found.ids[:first]), tuple(found.ids[first:])
        pieces, place = self._pieces(asked)
        return self._control_ids(pieces[:place]), self._control_ids(pieces[place:])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without control tokens."""
        return str(self._ids.decode(list(ids), skip_special_tokens=True))

    def answer(self, ids: Sequence[int], stop: tuple[str, ...] = ()) -> str:
        """The whole text of an answer's token ids, up to a stop text."""
        text = self.decode(ids)
        return text[: min((at for word in stop if (at := text.find(word)) >= 0), default=len(text))]

    def _encode(self, text: str) -> list[int]:
        return list(self._ids.encode(text, add_special_tokens=False).ids)

    def _control_ids(self, pieces: Sequence[str | int]) -> tuple[int, ...]:
        """Token ids of texts and control ids."""
        ids: list[int] = []
        text = ""
        for piece in pieces:
            if isinstance(piece, str):
                text += piece
            else:
                ids += [*self._encode(text), piece]
                text = ""
        return (*ids, *self._encode(text))

    def _pieces(self, messages: Sequence[ChatMessage]) -> tuple[list[str | int], int]:
        """The rendered template as text and control ids, and which of them is what the last message says.

        The template sees a mark in each content's place, so that nothing in a content can be taken for the template's.
        """
        if not messages:
            raise RequestRejected("a conversation needs a message")
        if unknown := sorted({message.role for message in messages} - ROLES):
            raise RequestRejected(f"unknown role {unknown[0]!r}: use system, user or assistant")
        marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
        turns = [{"role": message.role, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        try:
            rendered: Any = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # whatever the model's template raises, it is about this conversation
            raise RequestRejected(f"the model's chat template refuses this conversation: {error}") from error
        contents = dict(zip(marks, (message.content for message in messages), strict=True))
        known = sorted((*self._control, *marks), key=len, reverse=True)
        parts = [part for part in re.split(f"({'|'.join(map(re.escape, known))})", str(rendered)) if part]
        if marks[-1] not in parts:
            raise RequestRejected("the model's chat template leaves out what the last message says")
        return [self._control.get(part, contents.get(part, part)) for part in parts], parts.index(marks[-1])


def end_tokens(folder: Path) -> frozenset[int]:
    """The token ids by which a base model says that it has finished."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.exists() else None
        found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return frozenset(found)


class AnswerText:
    """An answer's text, growing with its tokens; never half a character, never a stop text or the beginning of one."""

    def __init__(self, codec: TextCodec, stop: tuple[str, ...]) -> None:
        self._codec, self._stop = codec, stop
        self._window: list[int] = []
        """The tokens that the text still being completed comes from."""
        self._taken = 0
        """How many characters of the window's text were taken out of it."""
        self._held = ""
        """Complete text that a stop text may begin in."""
        self.stopped = False

    def feed(
        self, tokens: Sequence[int], finish: FinishReason | None, logprobs: Sequence[TokenLogprobs] = ()
    ) -> EngineDelta:
        """What tokens add to the answer. A stop text ends it with the token that completes it."""
        text = ""
        for count, token in enumerate(tokens, start=1):
            text += self.push(token)
            if self.stopped:
                return EngineDelta(tuple(tokens[:count]), text, FinishReason.STOP, tuple(logprobs[:count]))
        if finish:
            text += self.finish()
        return EngineDelta(tuple(tokens), text, FinishReason.STOP if self.stopped else finish, tuple(logprobs))

    def push(self, token: int) -> str:
        """Add a token; the text that can be shown now. Sets `stopped` when a stop text is complete."""
        self._window.append(token)
        text = self._codec.decode(self._window)
        # Only the last replacement character can stand for bytes whose rest is still to come.
        complete = text.removesuffix(REPLACEMENT)
        fresh, self._taken = complete[self._taken :], max(self._taken, len(complete))
        if complete == text:
            # The last token stays as context: some decoders treat the first token of a text differently.
            self._restart(1)
        elif len(self._window) > 32:
            self._shorten(text)
        return self._show(fresh)

    def finish(self) -> str:
        """What is left when no token follows."""
        rest = self._codec.decode(self._window)[self._taken :]
        shown = self._show(rest)
        if not self.stopped:
            shown, self._held = shown + self._held, ""
        return shown

    def _restart(self, keep: int) -> None:
        self._window = self._window[-keep:]
        self._taken = len(self._codec.decode(self._window))

    def _shorten(self, text: str) -> None:
        """Cut a window that does not end (a run of broken bytes), at a place where the cut changes nothing."""
        for keep in range(4, 12):
            head, tail = self._codec.decode(self._window[:-keep]), self._codec.decode(self._window[-keep:])
            if head + tail == text and len(head) <= self._taken:
                self._window, self._taken = self._window[-keep:], self._taken - len(head)
                return

    def _show(self, fresh: str) -> str:
        text = self._held + fresh
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        hold = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
