from __future__ import annotations

import pytest

from openledger.cli.demo.report import must_balance
from openledger.ledger.v1 import ledger_pb2


def test_books_that_balance_are_passed_over_in_silence():
    must_balance(ledger_pb2.Conservation(fees="10", paid="7", held="3", difference="0"))


def test_a_unit_that_is_nowhere_fails_the_demo():
    with pytest.raises(RuntimeError, match="of 10 in fees, 6 were paid and 3 are held, which is 1 off"):
        must_balance(ledger_pb2.Conservation(fees="10", paid="6", held="3", difference="1"))
