"""The contracts' interface: encodings against known bytes, and that what is not ours is refused."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError

from openledger.abi import (
    CONTRACTS,
    UnknownName,
    artifact,
    datanet_key,
    decode_call,
    decode_error,
    decode_event,
    decode_result,
    encode_call,
    encode_creation,
    event_topic,
    snapshots_key,
)
from openledger.claims import keccak

ALICE = "0x" + "aa" * 20


def test_a_transfer_is_the_bytes_that_every_wallet_sends() -> None:
    expected = "a9059cbb" + "00" * 12 + "aa" * 20 + f"{5:064x}"
    assert encode_call("OpenToken", "transfer", ALICE, 5).hex() == expected


def test_structs_are_part_of_the_selector() -> None:
    signature = b"redeem((address,uint128,uint256,uint256,bytes)[])"
    data = encode_call("InferenceEscrow", "redeem", [(ALICE, 1, 2, 3, b"\x01")])
    assert data[:4] == keccak(signature)[:4]
    assert decode_call("InferenceEscrow", "redeem", data) == (((ALICE, 1, 2, 3, b"\x01"),),)


def test_a_call_of_another_function_is_refused() -> None:
    with pytest.raises(DecodingError):
        decode_call("OpenToken", "approve", encode_call("OpenToken", "transfer", ALICE, 5))


def test_creation_is_code_then_arguments() -> None:
    data = encode_creation("DatanetRegistry", ALICE)
    assert data == artifact("DatanetRegistry").bytecode + encode(["address"], [ALICE])


def test_events_are_read_by_name() -> None:
    topics = [event_topic("InferenceEscrow", "Deposited"), bytes(12) + b"\xaa" * 20]
    fields = decode_event("InferenceEscrow", "Deposited", topics, encode(["uint128", "uint128"], [3, 7]))
    assert topics[0] == keccak(b"Deposited(address,uint128,uint128)")
    assert fields == {"payer": ALICE, "amount": 3, "total": 7}
    with pytest.raises(DecodingError):
        decode_event("InferenceEscrow", "Redeemed", topics, b"")


def test_results_are_read() -> None:
    assert decode_result("InferenceEscrow", "accounts", encode(["uint128", "uint128"], [9, 4])) == (9, 4)


def test_errors_are_named_whichever_contract_declares_them() -> None:
    data = keccak(b"Insolvent(uint128,uint128)")[:4] + encode(["uint128", "uint128"], [5, 0])
    assert decode_error(data) == ("Insolvent", (5, 0))
    assert decode_error(keccak(b"Error(string)")[:4] + encode(["string"], ["no"])) == ("Error", ("no",))
    assert decode_error(data[:20]) is None
    assert decode_error(b"\x00" * 4) is None
    assert decode_error(b"") is None


@pytest.mark.parametrize("contract", CONTRACTS)
def test_code_matches_whatever_the_constructor_was_given(contract: str) -> None:
    found = artifact(contract)
    code = bytearray(found.deployed_bytecode)
    assert found.matches(bytes(code))
    for start, length in found.immutables:
        code[start : start + length] = b"\xff" * length
    assert found.matches(bytes(code))
    immutable = {place for start, length in found.immutables for place in range(start, start + length)}
    free = next(place for place in range(len(code)) if place not in immutable)
    code[free] ^= 1
    assert not found.matches(bytes(code))
    assert not found.matches(b"")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName):
        artifact("../secrets")
    with pytest.raises(UnknownName):
        encode_call("OpenToken", "mint", ALICE, 5)


def test_a_datanets_key_is_the_hash_of_its_name() -> None:
    assert datanet_key("datanets/medical") == keccak(b"datanets/medical")


def test_snapshots_are_one_hash_that_knows_their_order() -> None:
    one, two = ("datanets/a", 1, b"\x01" * 32), ("datanets/b", 2**64 - 1, b"\x02" * 32)
    words = [32, 2, int.from_bytes(keccak(b"datanets/a")), 1, int.from_bytes(b"\x01" * 32)]
    words += [int.from_bytes(keccak(b"datanets/b")), 2**64 - 1, int.from_bytes(b"\x02" * 32)]
    assert snapshots_key([one, two]) == keccak(b"".join(word.to_bytes(32) for word in words))
    assert snapshots_key([one, two]) != snapshots_key([two, one])
