"""A tiny base model and a small set of records by several contributors."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from services.factory.data import Record, load_tokenizer
from services.factory.model import FineTune
from services.factory.run import SnapshotPin
from services.factory.spec import FineTuneSpec
from services.factory.tables import METADATA
from services.kit.database import Database
from tests import tiny_model
from tests.factory_world import SNAPSHOT, address, offer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def spec(**changes: Any) -> FineTuneSpec:
    settings: dict[str, Any] = {
        "base": "tiny",
        "rank": 4,
        "alpha": 8,
        "layers": 2,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "held_out": 0.0,
        "seed": 3,
    }
    return FineTuneSpec(**(settings | changes))


def records(contributors: int, each: int, seed: int = 0) -> list[Record]:
    """Contributors 2k and 2k+1 share three of twelve common words; everyone has one word of their own."""
    rng = random.Random(seed)

    def word() -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=4))

    common = [word() for _ in range(12)]
    result = []
    for c in range(contributors):
        words = [common[(c // 2 * 3 + i) % 12] for i in range(4)] + [word()]
        for i in range(each):
            fields = {"prompt": rng.choice(words), "completion": " ".join(rng.choices(words, k=4))}
            result.append(Record(f"records/{c:02}-{i:02}", f"0x{c:040x}", fields))
    return result


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The Factory's tables, empty."""
    database = Database(f"sqlite:///{tmp_path}/factory.db")
    database.write_now(METADATA.create_all)
    yield database
    database.close()


@pytest.fixture
def job() -> FineTune:
    """A fine-tune that was just created."""
    letters = spec(prompt_template="{question}", completion_template="{answer}", layers=1, epochs=1, held_out=0.1)
    created = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    pins = (SnapshotPin(SNAPSHOT, "aa" * 32),)
    return FineTune("one", address(1), "letters", letters, pins, "bb" * 32, 1, created, licence="CC-BY-4.0")


@pytest.fixture
def offered(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny base model's name in the registry."""
    offer(tmp_path / "bases.toml", tiny=base)
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    return "tiny"
