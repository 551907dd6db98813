"""Where OpenLoRA's replicas are: addresses that stand in a list, and names that have several.

Knows addresses, and not who is there.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.kit import logs

_PLACE = re.compile(r"(?P<many>dns:)?(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})\Z")

log = logs.logger("attribution")


@dataclass(frozen=True)
class Place:
    """One address; or with `many` a name, each of whose addresses is one."""

    host: str
    port: int
    many: bool

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"


def parse(text: str) -> tuple[Place, ...]:
    """The places in a list with commas between them.  Raises `ValueError`."""
    return tuple(_place(part.strip()) for part in text.split(","))


def _place(text: str) -> Place:
    found = _PLACE.match(text)
    if found is None or int(found["port"]) >= 2**16:
        raise ValueError(
            f"{text!r} must be host:port, such as 127.0.0.1:7404, or dns:host:port for all of its addresses"
        )
    return Place(found["host"], int(found["port"]), bool(found["many"]))


class Addresses:
    """The addresses as they are at each moment."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._found: dict[Place, set[str]] = {}
        self._unknown: set[Place] = set()

    async def now(self) -> set[str]:
        """All of them.  A name that cannot be looked up has those that it had last."""
        return set[str]().union(*[await self._of(place) for place in self._places])

    async def _of(self, place: Place) -> set[str]:
        if not place.many:
            return {place.address}
        try:
            found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except OSError as error:
            if place not in self._unknown:
                log.warning("a name cannot be looked up; what it was last goes on", name=place.host, error=str(error))
            self._unknown.add(place)
        else:
            self._unknown.discard(place)
            self._found[place] = {_written(address) for *_, address in found}
        return self._found.get(place, set())


def _written(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
