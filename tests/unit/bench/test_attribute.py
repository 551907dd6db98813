"""The whole measurement in small: a tiny model on the small engine, real services, every kind of row."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bench import attribute
from bench.attribute import Setting, answers, figures
from bench.attribute.models import PLACEBOS, ROWS, Publisher
from bench.attribute.scoring import PARTS
from openledger import canonical
from openledger.adapters import read_manifest
from openledger.artifacts import ArtifactStore
from openledger.influence.index import ContributionIndex, root
from tests import tiny_model

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("tiny"), layers=2, context=4096)


@pytest.fixture(scope="module")
def rows(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    setting = Setting(
        answers=3,
        tokens=6,
        receipts=3,
        contributors=(2, 2 * ROWS + 1),
        models=((1, 2), (3, 2)),
        records=(0, 3),
        trained_on=(1_000,),
        trained_by=3,
        base=str(base),
        engine="transformers",
    )
    return asyncio.run(attribute.measure(setting, tmp_path_factory.mktemp("bench")))


def of(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind]


def test_both_ratios_are_of_answers_that_cost_something(rows: list[dict[str, Any]]) -> None:
    ratios = of(rows, "ratio")
    assert [row["at_once"] for row in ratios] == [1, 8]
    assert all(row["answers"] == 3 and 1 <= row["answer_tokens"] <= 6 for row in ratios)
    assert all(row["scoring_cpu_s"] > 0 and row["generation_cpu_s"] > 0 for row in ratios)
    assert figures(rows)["cpu_ratio"] == max(row["ratio"] for row in ratios)


def test_receipts_came_for_every_answer(rows: list[dict[str, Any]]) -> None:
    receipts = of(rows, "receipt")
    assert [row["answers"] for row in receipts] == [3, 3]
    assert all(0 < row["p50_s"] <= row["p95_s"] for row in receipts)
    assert figures(rows)["receipt_p95_s"] == max(row["p95_s"] for row in receipts)


def test_every_part_is_found_under_its_name(rows: list[dict[str, Any]]) -> None:
    (parts,) = of(rows, "parts")
    assert parts["cpu_ms"].keys() == {*PARTS, "the rest"}
    assert all(taken > 0 for taken in parts["cpu_ms"].values()), parts


def test_growth_has_a_row_for_each_size(rows: list[dict[str, Any]]) -> None:
    few, many = of(rows, "contributors")
    assert (few["contributors"], many["contributors"]) == (2, 2 * ROWS + 1)
    assert many["receipt_kb"] > 5 * few["receipt_kb"]
    assert [(row["models"], row["kept_open"]) for row in of(rows, "models")] == [(1, 2), (3, 2)]


def test_records_before_a_question_cost_a_pass_each(rows: list[dict[str, Any]]) -> None:
    none, some = of(rows, "records")
    assert (none["records"], some["records"]) == (0, 3)
    assert some["prompt_tokens"] > none["prompt_tokens"] + 100
    assert some["cpu_ms"] > none["cpu_ms"]
    assert some["contributors"] == 3, "none of them is like another"


def test_records_that_a_model_was_trained_on_cost_a_receipt_nothing_and_their_ranking_is_told(
    rows: list[dict[str, Any]],
) -> None:
    (row,) = of(rows, "trained_on")
    assert row["records"] == 1_000
    assert row["cpu_seconds"] > 0


def test_an_index_of_many_has_a_row_of_its_own_for_each(base: Path, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    lineage = read_manifest(store, Publisher(store, str(base)).publish(1, ROWS + 3).rpartition("/")[2])
    index = ContributionIndex.open(store.path(lineage.files["contribution_index.safetensors"]))
    assert len(index.vectors) == ROWS + 3 + PLACEBOS
    assert root(index).hex() == lineage.index_root
    assert set(index.header.contributors) == lineage.contributors.keys()


def test_cpu_time_of_children_counts() -> None:
    async def busy() -> float:
        before = answers.cpu_seconds()
        script = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nimport sys; sys.stdin.read()"
        child = await asyncio.create_subprocess_exec(
            "python3", "-c", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        await child.stdout.readline()
        took = answers.cpu_seconds() - before
        child.stdin.close()
        await child.wait()
        return took

    begun = time.monotonic()
    assert 0.25 <= asyncio.run(busy()) <= 2 * (time.monotonic() - begun) + 0.3


def test_questions_never_repeat() -> None:
    asked = answers.questions(40) + answers.questions(40)
    assert len(set(asked)) == 80


def test_a_receipt_is_canonical_json(base: Path, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    store.root.mkdir()
    revision = Publisher(store, str(base)).publish(0, 3)
    scoring = attribute.Scoring(store, str(base), tmp_path / "adapters")
    seconds, document = scoring.one(answers.Answer((5, 6, 7), (8, 9)), revision)
    assert seconds > 0
    assert len(canonical.loads(document)["evidence"]["scores"]) == 3
