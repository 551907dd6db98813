"""Pieces of an answer on their way to a reader."""

from __future__ import annotations

import asyncio

from services.openlora.engine import TokenLogprobs
from services.openlora.pieces import Piece, Pieces


async def test_what_waits_goes_out_together_and_nothing_is_lost():
    pieces, likely = Pieces(), [TokenLogprobs(n, -1.0) for n in range(3)]
    pieces.say(Piece("a", (likely[0],)))
    assert await pieces.next() == Piece("a", (likely[0],))
    pieces.say(Piece("b", (likely[1],)))
    pieces.say(Piece("c", (likely[2],)))
    pieces.end()
    assert await pieces.next() == Piece("bc", (likely[1], likely[2]))
    assert await pieces.next() is None
    assert await pieces.next() is None


async def test_a_reader_waits_for_the_next_piece():
    pieces = Pieces()
    reading = asyncio.create_task(pieces.next())
    await asyncio.sleep(0)
    assert not reading.done()
    pieces.say(Piece("late"))
    assert await reading == Piece("late")
