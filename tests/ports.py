"""Free neighbouring ports for an installation of a test's own."""

from __future__ import annotations

import random
import socket


def six_free_ports() -> int:
    """The first of six neighbouring free ports."""
    draw = random.Random()
    while True:
        first = draw.randrange(20_000, 50_000)
        probes = []
        try:
            for port in range(first, first + 60):
                probe = socket.socket()
                probes.append(probe)
                probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
