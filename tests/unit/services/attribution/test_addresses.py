"""Where replicas are."""

from __future__ import annotations

import asyncio
import socket

import pytest

from services.attribution.addresses import Addresses, Place, parse


def test_a_list_of_addresses_and_of_names_that_have_several():
    assert parse("10.0.0.1:7404") == (Place("10.0.0.1", 7404, False),)
    found = parse("one:1, [::1]:2,dns:openlora.default.svc:3")
    assert [(place.address, place.many) for place in found] == [
        ("one:1", False),
        ("[::1]:2", False),
        ("openlora.default.svc:3", True),
    ]


@pytest.mark.parametrize("wrong", ("", "one", "one:1,", ":1", "one:99999", "dns:one", "dns:///one:1", "one:1;two:2"))
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(ValueError, match="must be host:port"):
        parse(wrong)


async def test_a_name_has_the_addresses_that_it_has_now_and_the_last_ones_while_it_cannot_be_looked_up(monkeypatch):
    known = [("10.0.0.1", 7), ("10.0.0.2", 7), ("fd00::1", 7, 0, 0)]

    async def look_up(host, port, **how):
        assert (host, port, how) == ("many", 7, {"type": socket.SOCK_STREAM})
        if not known:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(0, 1, 6, "", address) for address in known]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    addresses = Addresses(parse("one:1,dns:many:7"))
    all_three = {"one:1", "10.0.0.1:7", "10.0.0.2:7", "[fd00::1]:7"}
    assert await addresses.now() == all_three
    left = known.pop(0)
    assert await addresses.now() == all_three - {f"{left[0]}:7"}
    known.clear()
    assert await addresses.now() == all_three - {f"{left[0]}:7"}
    known[:] = [left]
    assert await addresses.now() == {"one:1", f"{left[0]}:7"}


async def test_a_name_that_nobody_knows_yet_has_none(monkeypatch):
    async def look_up(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert await Addresses(parse("dns:many:7")).now() == set()
