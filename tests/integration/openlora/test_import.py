"""Adapters that people bring over gRPC: served like others, refused in words, and never anybody else's harm."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openledger.artifacts import ArtifactStore
from openledger.base_models import sha256
from openledger.client import ApiError, Wallet
from openledger.imported import CONFIG, WEIGHTS
from openledger.manifest import LineageManifest, sign
from openledger.openlora.v1 import openlora_pb2 as pb
from tests.peft_folder import brought, described, messages, peft_folder, signed_anew


@pytest.fixture
def base_sha256(world) -> str:
    return sha256(str(world.base))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return peft_folder(tmp_path / "peft")


async def sent(client, lineage: LineageManifest, folder: Path, **more: Any) -> pb.Adapter:
    return await client.call(client.openlora.ImportAdapter, messages(lineage, folder, **more))


async def refused(client, lineage: LineageManifest, folder: Path) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await sent(client, lineage, folder)
    return caught.value


def published(world) -> set[str]:
    return {path.name for path in world.artifacts.root.glob("sha256/*/*")}


async def test_what_is_brought_is_found_and_answers_and_is_its_owners(world, engine, folder, base_sha256, tmp_path):
    lineage = brought(folder, tmp_path / "form", world.wallet, base_sha256)
    async with world.life(engine) as client:
        adapter = await sent(client, lineage, tmp_path / "form")
        assert (adapter.name, adapter.owner, adapter.imported) == (lineage.revision, world.wallet.account, True)
        assert (adapter.state, adapter.in_memory, adapter.on_disk) == (pb.ADAPTER_STATE_EVICTED, False, False)
        answer = await world.ask(client, model=adapter.name)
        assert answer.summary is not None
        (trace,) = await world.traces()
        listed = await client.call(client.openlora.ListAdapters, pb.ListAdaptersRequest())
    assert trace.adapter == lineage.revision
    assert engine.loads == [lineage.digest]
    (known,) = listed.adapters
    assert (known.state, known.in_memory, known.on_disk) == (pb.ADAPTER_STATE_READY, True, True)
    sizes = [(tmp_path / "form" / name).stat().st_size for name in (CONFIG, WEIGHTS)]
    assert known.size_bytes == sum(sizes)


async def test_the_same_again_is_nothing_new_also_in_a_later_life(world, engine, folder, base_sha256, tmp_path):
    lineage = brought(folder, tmp_path / "form", world.wallet, base_sha256)
    for _ in range(2):
        async with world.life(engine, account_import_bytes=5000) as client:
            for _ in range(3):
                assert (await sent(client, lineage, tmp_path / "form")).name == lineage.revision
        engine.dead = False
    assert len(published(world)) == 4


def _weights(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Callable[[Path], None]:
    def spoil(form: Path) -> None:
        save_file(change(load_file(form / WEIGHTS)), form / WEIGHTS)

    return spoil


def _config(**changes: Any) -> Callable[[Path], None]:
    def spoil(form: Path) -> None:
        (form / CONFIG).write_text(json.dumps(json.loads((form / CONFIG).read_text()) | changes))

    return spoil


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda form: (form / name).write_bytes(change((form / name).read_bytes())) and None


SPOILERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "wrong shapes": (_weights(lambda w: {k: v[:, :1].copy() for k, v in w.items()}), "has shape"),
    "not a number": (_weights(lambda w: {k: v * np.float32("nan") for k, v in w.items()}), "not a number"),
    "rank too high": (_config(r=64), "rank 64"),
    "a pickle": (_bytes(WEIGHTS, lambda _: b"\x80\x04cos\nsystem\n."), "not a whole safetensors"),
    "cut short": (_bytes(WEIGHTS, lambda data: data[:-9]), "not a whole safetensors"),
    "float64": (_weights(lambda w: {k: v.astype(np.float64) for k, v in w.items()}), "F64"),
    "a layer too many": (_weights(lambda w: {k.replace("s.1.", "s.99."): v for k, v in w.items()}), "layers.99"),
    "nested without end": (_bytes(CONFIG, lambda _: b"[" * 100_000), "nested more than"),
    "another form": (_config(modules_to_save=None), "not in the form"),
    "a header as long as the sky": (_bytes(WEIGHTS, lambda data: b"\xff" * 8 + data[8:]), "not a whole safetensors"),
}


async def test_what_is_unsound_is_refused_in_words_and_others_do_not_notice(
    world, engine, folder, base_sha256, tmp_path
):
    good, stop = world.publish("good"), asyncio.Event()
    before = published(world)
    async with world.life(engine) as client:
        expected = (await world.ask(client, "how are you", model=good)).text

        async def go_on() -> int:
            count = 0
            while not stop.is_set():
                assert (await world.ask(client, "how are you", model=good)).text == expected
                count += 1
            return count

        others = asyncio.create_task(go_on())
        for number, (spoil, words) in enumerate(SPOILERS.values()):
            form = tmp_path / f"form{number}"
            lineage = brought(folder, form, world.wallet, base_sha256)
            spoil(form)
            error = await refused(client, signed_anew(lineage, form, world.wallet), form)
            assert (error.reason, words in error.message) == ("ADAPTER_REJECTED", True), error
        stop.set()
        assert await others
    assert published(world) == before
    assert list((tmp_path / "openlora" / "imports").iterdir()) == []


async def test_what_was_changed_after_it_was_signed_is_refused_by_file(world, engine, folder, base_sha256, tmp_path):
    lineage = brought(folder, tmp_path / "form", world.wallet, base_sha256)
    other = peft_folder(tmp_path / "other", seed=1)
    shutil.copy(other / WEIGHTS, tmp_path / "form" / WEIGHTS)
    async with world.life(engine) as client:
        error = await refused(client, lineage, tmp_path / "form")
        assert (error.reason, error.metadata["file"]) == ("FILE_CHANGED", WEIGHTS)
        (tmp_path / "form" / WEIGHTS).write_bytes(b"")
        assert (await refused(client, lineage, tmp_path / "form")).reason == "FILE_CHANGED"
    assert published(world) == set()


async def test_manifests_that_say_what_is_not_so_are_refused(world, engine, folder, base_sha256, tmp_path):
    form, me, other = tmp_path / "form", world.wallet, Wallet.create()
    lineage = brought(folder, form, me, base_sha256)
    cases = {
        "NOT_YOURS": described(form, other, base_sha256),
        "WRONG_BASE": described(form, me, "f" * 64),
        "BAD_MANIFEST": sign(replace(lineage, index_root="0" * 64), me.private_key),
    }
    async with world.life(engine) as client:
        for reason, manifest in cases.items():
            assert (await refused(client, manifest, form)).reason == reason
        more = sign(replace(lineage, files=dict(lineage.files) | {"x.py": "0" * 64}), me.private_key)
        assert (await refused(client, more, form)).reason == "BAD_MANIFEST"
        trained = sign(replace(lineage, source=None, contributors={me.address: 1}, adapter="poems"), me.private_key)
        assert (await refused(client, trained, form)).reason == "BAD_MANIFEST"
    assert published(world) == set()


async def test_messages_in_another_order_are_refused(world, engine, folder, base_sha256, tmp_path):
    lineage = brought(folder, tmp_path / "form", world.wallet, base_sha256)
    manifest = pb.ImportAdapterRequest(manifest=lineage.to_bytes())

    def piece(file: str) -> pb.ImportAdapterRequest:
        return pb.ImportAdapterRequest(piece=pb.FilePiece(file=file, data=b"x"))

    orders = {
        "MANIFEST_FIRST": ([], [piece(CONFIG)], [manifest, manifest], [pb.ImportAdapterRequest()]),
        "UNKNOWN_FILE": ([manifest, piece("../evil.py")], [manifest, piece("adapter_model.bin")]),
        "FILE_CHANGED": ([manifest], [manifest, piece(CONFIG)]),
        "BAD_MANIFEST": ([pb.ImportAdapterRequest(manifest=b"{}")],),
    }

    async def each(order):
        for message in order:
            yield message

    async with world.life(engine) as client:
        for reason, bad in orders.items():
            for order in bad:
                with pytest.raises(ApiError) as caught:
                    await client.call(client.openlora.ImportAdapter, each(order))
                assert caught.value.reason == reason


async def test_room_is_bounded_for_one_for_an_account_and_for_all(world, engine, base_sha256, tmp_path):
    people = [world.wallet, Wallet.create()]
    forms = [tmp_path / f"form{n}" for n in range(3)]
    for n, form in enumerate(forms):
        brought(peft_folder(tmp_path / f"peft{n}", seed=n), form, world.wallet, base_sha256)
    size = sum((forms[0] / name).stat().st_size for name in (CONFIG, WEIGHTS))
    limits = {"import_bytes": size, "account_import_bytes": 2 * size, "all_import_bytes": 3 * size}
    async with world.life(engine, **limits) as client, world.client(people[1]) as other:
        for form in forms[:2]:
            await sent(client, described(form, people[0], base_sha256), form)
        error = await refused(client, described(forms[2], people[0], base_sha256), forms[2])
        assert (error.reason, error.metadata["limit"]) == ("IMPORTS_FULL", str(2 * size))
        await sent(other, described(forms[2], people[1], base_sha256), forms[2])
        error = await refused(other, described(forms[0], people[1], base_sha256), forms[0])
        assert (error.reason, error.metadata["limit"]) == ("IMPORTS_FULL", str(3 * size))
    async with world.life(type(engine)(), import_bytes=size - 1) as client:
        large = described(forms[2], people[0], base_sha256)
        assert (await refused(client, large, forms[2])).reason == "ADAPTER_TOO_LARGE"


async def test_only_named_accounts_bring_adapters_where_some_are_named(world, engine, folder, base_sha256, tmp_path):
    lineage = brought(folder, tmp_path / "form", world.wallet, base_sha256)
    async with world.life(engine, importers=(Wallet.create().address,)) as client:
        assert (await refused(client, lineage, tmp_path / "form")).reason == "MAY_NOT_IMPORT"
    async with world.life(type(engine)(), importers=(world.wallet.address,)) as client:
        assert (await sent(client, lineage, tmp_path / "form")).imported


async def test_whoever_leaves_in_the_middle_leaves_nothing(world, engine, folder, base_sha256, tmp_path):
    lineage = brought(folder, tmp_path / "form", world.wallet, base_sha256)
    hang = asyncio.Event()

    async def half():
        async for message in messages(lineage, tmp_path / "form"):
            yield message
            if message.WhichOneof("part") == "piece":
                await hang.wait()

    place = tmp_path / "openlora" / "imports"
    async with world.life(engine) as client:
        task = asyncio.create_task(client.call(client.openlora.ImportAdapter, half()))
        async with asyncio.timeout(5):
            while not list(place.glob("*/*")):
                await asyncio.sleep(0.01)
        assert (await refused(client, lineage, tmp_path / "form")).reason == "IMPORT_IN_PROGRESS"
        task.cancel()
        async with asyncio.timeout(5):
            while list(place.iterdir()):
                await asyncio.sleep(0.01)
        assert (await sent(client, lineage, tmp_path / "form")).name == lineage.revision


async def test_a_disk_that_was_full_in_the_end_costs_no_room_and_the_same_again_is_taken(
    world, engine, folder, base_sha256, tmp_path, monkeypatch
):
    form, put = tmp_path / "form", ArtifactStore.put
    lineage = brought(folder, form, world.wallet, base_sha256)
    size = sum((form / name).stat().st_size for name in (CONFIG, WEIGHTS))

    def full(self, data: bytes) -> str:
        raise OSError(28, "No space left on device")

    async with world.life(engine, account_import_bytes=size) as client:
        monkeypatch.setattr(ArtifactStore, "put", full)
        assert (await refused(client, lineage, form)).reason == "DISK_FULL"
        monkeypatch.setattr(ArtifactStore, "put", put)
        assert (await world.ask(client, model=lineage.revision)).reason == "UNKNOWN_ADAPTER"
        assert (await sent(client, lineage, form)).name == lineage.revision
        assert (await world.ask(client, model=lineage.revision)).summary


async def test_what_a_killed_service_was_sent_in_part_is_gone_when_the_next_one_starts(world, engine, tmp_path):
    left = tmp_path / "openlora" / "imports" / "half"
    left.mkdir(parents=True)
    (left / WEIGHTS).write_bytes(b"half")
    async with world.life(engine):
        assert list(left.parent.iterdir()) == []
