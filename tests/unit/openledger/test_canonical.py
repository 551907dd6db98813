from __future__ import annotations

import pytest
import rfc8785

from openledger import canonical


def test_key_order_and_spaces_do_not_matter():
    assert canonical.dumps({"b": 1, "a": [1.0, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()
    assert canonical.digest({"b": 1, "a": 2}) == canonical.digest({"a": 2, "b": 1})


def test_numbers_that_json_readers_would_round_are_refused():
    with pytest.raises(rfc8785.IntegerDomainError):
        canonical.dumps({"amount": 2**53})


@pytest.mark.parametrize("data", (b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1.0}', b'{"a":1}\n', b'{"a":1,"a":1}'))
def test_another_spelling_of_a_document_is_refused(data):
    with pytest.raises(ValueError, match="canonical"):
        canonical.loads(data)
