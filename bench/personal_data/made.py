"""Sentences with personal data and secrets of every kind, made up; and sentences with what only looks like them.

What is right is known because it is put there: check digits and forms are computed here, from their definitions, and
not by what is measured.  Names are first and last names of people of many countries, put together at random.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FIRST = tuple(
    re.findall(
        r"\S+",
        """
        James Mary Robert Patricia Jennifer Michael Linda David Elizabeth William Barbara Ahmed Fatima
        Mohammed Aisha Wei Li Hiroshi Yuki Priya Rahul Anjali Carlos Maria Juan Ana João Pierre Marie
        Hans Greta Olga Dmitri Chinedu Amara Kwame Nia Liam Emma Noah
        """,
    )
)
_LAST = tuple(
    re.findall(
        r"\S+",
        """
        Smith Johnson Williams Brown Jones Miller Davis Garcia Rodriguez Wilson Martinez Anderson Taylor
        Khan Hassan Ali Wang Chen Tanaka Suzuki Patel Sharma Gupta Silva Santos Dubois Laurent Müller
        Schneider Ivanova Petrov Okafor Mensah Diallo O'Brien Kowalski Novak
        """,
    )
)
_SENTENCES = (
    "You can reach us: {}.",
    "As I said before, {} is what they gave me yesterday, and I wrote it down.",
    "({})",
    "{} was on the list that we had in the office.",
    "Please take {}\nand send it back to us.",
)
_NAMED = (
    "Yesterday I met {} at the station and we talked for an hour.",
    "The form was filled in by {}, who lives in our street.",
    "{} has been my neighbour for ten years.",
    "Thanks for your help!\n\nBest regards,\n{}",
    "I was treated by Dr. {} and felt better within a week.",
    "Please ask {} or me if something is not clear.",
)


@dataclass(frozen=True)
class Made:
    """A text, and where what of which kind stands in it; nothing of a text that only looks so."""

    text: str
    kind: str
    start: int = 0
    end: int = 0


def sentences(each: int, seed: int) -> Iterator[Made]:
    """So many sentences of each kind, and so many with what only looks like it."""
    draw = random.Random(seed)
    for kind, make in KINDS.items():
        for number in range(each):
            said = make(draw, number)
            frames = _NAMED if kind == "NAME" else _SENTENCES
            before, after = frames[number % len(frames)].split("{}")
            yield Made(before + said + after, kind, len(before), len(before) + len(said))
    for kind, make in LOOKALIKES.items():
        for number in range(each):
            yield Made(_SENTENCES[number % len(_SENTENCES)].format(make(draw, number)), kind)


def _email(draw: random.Random, _: int) -> str:
    local = draw.choice(_FIRST).lower() + draw.choice(["", ".", "_", "+"]) + _digits(draw, 2)
    domain = draw.choice(["mail.", "", "my-"]) + "example." + draw.choice(["org", "com", "co.uk", "de", "io", "museum"])
    return f"{local}@{domain}"


def _phone(draw: random.Random, number: int) -> str:
    d = lambda count: _digits(draw, count)  # noqa: E731
    return (
        f"+1 {draw.choice(['212', '415', '617'])} 555 0{d(3)}",
        f"({draw.choice(['212', '415', '617'])}) 555-2{d(3)}",
        f"{draw.choice(['212', '415', '617'])}-555-3{d(3)}",
        f"+44 20 7946 0{d(3)}",
        f"020 7946 0{d(3)}",
        f"+49 30 9018{d(4)}",
        f"+33 1 42 68 {d(2)} {d(2)}",
        f"06 12 34 {d(2)} {d(2)}",
        f"+91 98765 4{d(4)}",
        f"+55 11 98765-{d(4)}",
    )[number % 10]


def _card(draw: random.Random, number: int) -> str:
    digits = draw.choice(["4", "51", "52", "55"])
    digits += _digits(draw, 15 - len(digits))
    digits += next(last for last in string.digits if _luhn(digits + last))
    return digits if number % 2 else f"{draw.choice('- ')}".join(digits[n : n + 4] for n in range(0, 16, 4))


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: the sum of digits, every second from the right doubled, ends in 0."""
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _iban(draw: random.Random, number: int) -> str:
    country, account = (("DE", _digits(draw, 18)), ("FR", _digits(draw, 23)), ("GB", "WEST" + _digits(draw, 14)))[
        number % 3
    ]
    rest = int("".join(str(int(c, 36)) for c in f"{account}{country}00"))
    code = f"{country}{98 - rest % 97:02d}{account}"  # ISO 13616: the whole, moved round, is 1 modulo 97
    return code if number % 2 else " ".join(code[n : n + 4] for n in range(0, len(code), 4))


def _ssn(draw: random.Random, _: int) -> str:
    return f"{draw.randrange(100, 660)}-{draw.randrange(10, 99)}-{draw.randrange(1000, 9999)}"


def _ip(draw: random.Random, number: int) -> str:
    if number % 3:
        first = draw.choice([8, 52, 93, 151, 203])
        return f"{first}.{draw.randrange(64, 99)}.{draw.randrange(256)}.{draw.randrange(10, 250)}"
    return ":".join(["2606"] + [f"{draw.randrange(1, 65536):x}" for _ in range(7)])


def _wallet(draw: random.Random, number: int) -> str:
    return (f"0x{draw.randbytes(20).hex()}", _base58(draw.randbytes(20)), _bech32("bc", draw.randbytes(20)))[number % 3]


def _base58(hashed: bytes) -> str:
    """A Bitcoin address of a public key's hash: version 0, and 4 bytes of a double SHA-256."""
    whole = b"\0" + hashed
    whole += hashlib.sha256(hashlib.sha256(whole).digest()).digest()[:4]
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, said = int.from_bytes(whole, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        said = alphabet[digit] + said
    return "1" * (len(whole) - len(whole.lstrip(b"\0"))) + said


def _bech32(prefix: str, program: bytes) -> str:
    """BIP 173: a witness program of version 0."""
    bits = int.from_bytes(program, "big")
    data = [0] + [bits >> 5 * place & 31 for place in reversed(range(len(program) * 8 // 5))]
    check = 1
    for value in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + data + [0] * 6:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for place, part in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= part if top >> place & 1 else 0
    digits = [(check ^ 1) >> 5 * (5 - place) & 31 for place in range(6)]
    return prefix + "1" + "".join("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[value] for value in data + digits)


def _name(draw: random.Random, _: int) -> str:
    return f"{draw.choice(_FIRST)} {draw.choice(_LAST)}"


def _secret(draw: random.Random, number: int) -> str:
    def letters(count: int) -> str:
        return "".join(draw.choices(string.ascii_letters + string.digits, k=count))

    return (
        "ghp_" + letters(36),
        "AKIA" + "".join(draw.choices(string.ascii_uppercase + "234567", k=16)),
        "AIza" + letters(35),
        "sk_live_" + letters(24),
        "-----BEGIN EC PRIVATE KEY-----",
        f"xoxb-{_digits(draw, 12)}-{letters(24)}",
    )[number % 6]


def _digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choices(string.digits, k=count))


KINDS: dict[str, Callable[[random.Random, int], str]] = {
    "EMAIL": _email,
    "PHONE": _phone,
    "CARD": _card,
    "IBAN": _iban,
    "SSN": _ssn,
    "IP": _ip,
    "WALLET": _wallet,
    "NAME": _name,
    "SECRET": _secret,
}
LOOKALIKES: dict[str, Callable[[random.Random, int], str]] = {
    "handle": lambda draw, _: f"@{draw.choice(_FIRST).lower()}{_digits(draw, 2)}",
    "identifier": lambda draw, _: f"PMID {_digits(draw, 8)}",
    "date and time": lambda draw, _: (
        f"20{_digits(draw, 2)}-0{draw.randrange(1, 9)}-1{_digits(draw, 1)} 10:{draw.randrange(10, 59)}:00"
    ),
    "hash": lambda draw, _: f"0x{draw.randbytes(32).hex()}",
    "decimal": lambda draw, _: f"{draw.random():.12f}",
    "version": lambda draw, _: f"{draw.randrange(9)}.{draw.randrange(9)}.{draw.randrange(9)}.{draw.randrange(9)}",
    "private network": lambda draw, _: f"192.168.{draw.randrange(256)}.{draw.randrange(256)}",
    "eponym": lambda draw, _: f"{draw.choice(_LAST)} {draw.choice(_LAST)} syndrome",
    "place": lambda draw, _: draw.choice(
        ["New York", "Los Angeles", "South Africa", "Lake Victoria", "Red Square", "Black Forest"]
    ),
    "title": lambda draw, _: draw.choice(
        ["Chief Executive Officer", "Data Protection Act", "Annual General Meeting", "World Cup"]
    ),
}
