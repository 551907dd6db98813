"""An answer on its way to whoever reads it: what waits goes out together, so that a slow reader gets fewer messages.

Knows no engine and no protocol.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.openlora.engine import TokenLogprobs


@dataclass(frozen=True)
class Piece:
    """Text of an answer, and how likely its tokens were where that was asked for."""

    text: str
    logprobs: tuple[TokenLogprobs, ...] = ()


class Pieces:
    """Between one who says and one who reads.  Nothing that is said waits for the reader."""

    def __init__(self) -> None:
        self._said: list[Piece] = []
        self._news, self._ended = asyncio.Event(), False

    def say(self, piece: Piece) -> None:
        """One piece more."""
        self._said.append(piece)
        self._news.set()

    def end(self) -> None:
        """There are no more."""
        self._ended = True
        self._news.set()

    async def next(self) -> Piece | None:
        """All that was said since the last time, as one piece, as soon as there is any; None when there is no more."""
        await self._news.wait()
        said, self._said = self._said, []
        if not self._ended:
            self._news.clear()
        if not said:
            return None
        return Piece("".join(piece.text for piece in said), tuple(each for piece in said for each in piece.logprobs))
