"""What nobody can check, beside what its publisher made impossible to check, which is wrong.  Nothing is trained."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from openledger.manifest import Base, Combined, Source
from openledger.retrained import Found
from services.factory import retrainings, verify_training
from services.factory.claims import NotTrained
from services.factory.retrainings import Refused
from services.factory.verify_training import Order, verify
from services.kit.executor import TaskFailed
from tests.made_up_revision import PEOPLE, ROWS, an_index, revision

INDEX = "contribution_index.safetensors"


@pytest.fixture
def made(tmp_path):
    return revision(tmp_path / "artifacts")


def found(made, tmp_path):
    order = Order(made.put(), str(tmp_path / "artifacts"), [], str(tmp_path / "work"), 0, "5e" * 32, base="here")
    return asyncio.run(verify(order, lambda _: None))


def test_whoever_has_no_texts_is_refused(made, tmp_path):
    with pytest.raises(Refused, match="export"):
        found(made, tmp_path)


def test_a_base_model_that_is_no_known_one_is_asked_for(made, tmp_path, monkeypatch):
    """A folder of that name may be among what the provider gave, with the right weights and another tokenizer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / made.spec.base).mkdir()
    order = Order(made.put(), str(tmp_path / "artifacts"), [], str(tmp_path / "work"), 0, "5e" * 32)
    with pytest.raises(Refused, match="--base"):
        asyncio.run(verify(order, lambda _: None))


def test_the_base_models_name_is_the_specifications(made, tmp_path):
    made.more["base"] = Base("another", "b" * 64)
    assert "different base models" in found(made, tmp_path)["wrong"][0]


@pytest.mark.parametrize(
    ("name", "data"),
    (
        ("training.json", None),
        ("training.json", b"{}"),
        ("training.json", b"[" * 100_000),
        ("audit.json", b"{}"),
        (INDEX, b"an index"),
        (INDEX, an_index(ROWS[:-1])),
        (INDEX, an_index(ROWS[:1], PEOPLE[:1])),
        ("halves_index.safetensors", b""),
        ("adapter_model.safetensors", b"weights"),
        ("adapter_model.safetensors", b"\xff" * 16),
    ),
)
def test_what_is_no_file_of_its_kind_is_wrong(made, tmp_path, name, data):
    if data is None:
        del made.files[name]
    else:
        made.files[name] = data
    verdict = found(made, tmp_path)
    assert not verdict["ok"]
    assert len(verdict["wrong"]) == 1


@pytest.mark.parametrize("threads", (0, 5000, 1.5))
def test_threads_that_no_machine_has_are_wrong(made, tmp_path, threads):
    made.more["metrics"] = {"threads": threads}
    assert f"with {threads} threads" in found(made, tmp_path)["wrong"][0]


@pytest.mark.parametrize("spec", ({"rank": "many"}, {"made_up": 1}, {"halves": -1}))
def test_a_specification_that_is_none_is_wrong(made, tmp_path, spec):
    made.more["spec"] = made.spec.to_json() | spec
    assert not found(made, tmp_path)["ok"]


@pytest.mark.parametrize("name", ("adapter_model.safetensors", INDEX, "training.json", "audit.json"))
def test_what_is_withheld_is_wrong(made, tmp_path, name):
    digest = made.lineage.files[name]
    made.put()
    data = made.files[name]
    order = Order(made.put(), str(tmp_path / "artifacts"), [], str(tmp_path / "work"), 0, "5e" * 32, base="here")
    made.store.path(digest).unlink()
    verdict = asyncio.run(verify(order, lambda _: None))
    assert not verdict["ok"]
    assert digest in verdict["wrong"][0]
    made.store.put(data)


def test_what_was_not_trained_here_is_refused(made, tmp_path):
    parents = tuple(Combined(f"adapters/words/revisions/{digit * 64}", 5_000) for digit in "ab")
    for changes in ({"source": Source("imported")}, {"combines": parents}):
        lineage = replace(made.lineage, **changes)
        with pytest.raises(NotTrained):
            verify_training.Claims.of(made.store, lineage)
    first = replace(made.lineage, licence="", files={k: v for k, v in made.lineage.files.items() if "json" not in k})
    with pytest.raises(NotTrained, match="before training"):
        verify_training.Claims.of(made.store, first)


@pytest.mark.parametrize("wrong", ("", "a lie"))
def test_what_was_found_wrong_stays_whatever_fails_later(made, tmp_path, monkeypatch, wrong):
    class Stops:
        def __init__(self, *_):
            pass

        async def make(self, verdict, _draw):
            verdict.trained("the run itself", [Found("a row", same=False, wrong=wrong)])
            raise TaskFailed("MemoryError", "memory is out")

    monkeypatch.setattr(verify_training, "Retrainings", Stops)
    if not wrong:
        with pytest.raises(TaskFailed):
            found(made, tmp_path)
        return
    verdict = found(made, tmp_path)
    assert (verdict["ok"], verdict["whole"], verdict["wrong"]) == (False, False, ["a row: a lie"])
    assert any("memory is out" in words for words in verdict["words"])


def test_what_does_not_fit_what_training_gives_is_wrong_and_what_was_found_before_stays():
    def compare(_):
        yield Found("a row", same=True)
        raise IndexError("row 7")

    one, other = retrainings._compared("it", compare, None)
    assert (one.same, other.wrong != "") == (True, True)

    def broken(_):
        raise OSError("the disk")
        yield

    with pytest.raises(OSError, match="disk"):
        list(retrainings._compared("it", broken, None))
