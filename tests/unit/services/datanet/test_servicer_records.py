"""Uploads while they are received, and broken off."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import SimpleNamespace

from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.servicer_records import RecordMethods
from services.datanet.upload import Limits, Room, Upload
from tests.unit.services.datanet.test_upload import DATANET, VAULT, declared

LONG = "word " * 4000
ROOM = 100_000


class Held(Upload):
    """Waits before it takes a record in, until it may go on."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.began, self.may = threading.Event(), threading.Event()

    def add(self, fields, source) -> None:
        self.began.set()
        self.may.wait(10)
        super().add(fields, source)


def methods(room: Room, screeners=None) -> RecordMethods:
    limits = Limits(ROOM, ROOM, 10)
    return RecordMethods(SimpleNamespace(), VAULT, SimpleNamespace(), limits, room, screeners, SimpleNamespace(), None)


async def sent(*texts: str):
    for text in texts:
        yield pb.ContributeRecordsRequest(record=pb.RecordInput(fields={"text": text}))


async def test_an_upload_that_is_broken_off_in_the_midst_of_a_record_gives_all_its_memory_back():
    room = Room(ROOM)
    upload = Held(DATANET, declared(LONG), Limits(ROOM, ROOM, 10), room, VAULT)

    async def receive() -> None:
        with upload:
            await methods(room)._receive(sent(LONG), upload)

    receiving = asyncio.create_task(receive())
    await asyncio.to_thread(upload.began.wait, 10)
    receiving.cancel()
    await asyncio.sleep(0.05)
    upload.may.set()
    with suppress(asyncio.CancelledError):
        await receiving
    await asyncio.get_running_loop().shutdown_default_executor()
    room.take(ROOM)
