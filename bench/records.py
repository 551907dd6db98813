"""What is lost when records are found by 4 KB of their gradients, and how long it takes among a million of them.

    python -m bench records            one training on SmolLM2 (256 records of the HPO), no retraining; a million rows
    python -m bench records --quick    18 records and 10,000 rows; under a minute, the same code

Agreement: of scores by sketches with scores by full gradients, for each answer over all records. Sketches of one bit a
coordinate, as the product has them, and of eight for comparison, at the same bytes a record. Time and memory: of random
rows in the product's file, for all contributors and for one, read from disk and from the page cache.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import result
from bench.lds.study import Setting, address
from openledger.influence import drill_down, record_scores
from openledger.influence.agreement import spearman
from openledger.influence.metric import KINDS, Metric
from openledger.influence.parameters import Parameter
from openledger.influence.quantize import quantise
from openledger.influence.record_sketches import Header, RecordSketches, Rows, encode
from openledger.influence.sketch import BITS, Answer, Floats, Projection, Signs

SEED = "bench"
TOP = 10
EACH = 1000
"""Synthetic records a contributor."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    setting: Setting
    bytes: tuple[int, ...]
    """Of the coordinates of a sketch."""
    rows: tuple[int, ...]


FULL = Size(Setting("records", records=16), (512, 1024, 2048, BITS // 8), (1_000, 10_000, 100_000, 1_000_000))
QUICK = Size(Setting("records-quick", contributors=6, records=3, queries=1, epochs=1), (BITS // 8,), (1_000, 10_000))


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/records.json, or records-quick.json."""
    size = QUICK if quick else FULL
    scans = [scan(rows) for rows in size.rows]
    gradients, seconds = trained(size.setting)
    rows = [row for kind in KINDS for row in agreement(gradients, kind, size.bytes)]
    found = figures(rows, scans) | seconds | sketching(gradients)
    settings = {"quick": quick, "setting": vars(size.setting), "parameters": sum(gradients.sizes), "threads": 1}
    name = "records-quick" if quick else "records"
    print(result.write(name, found, seed=size.setting.seed, settings=settings, rows=rows + scans))


def figures(rows: list[dict[str, Any]], scans: list[dict[str, Any]]) -> dict[str, float]:
    """The product's scorers at the product's size, and the largest scan."""
    found: dict[str, float] = {}
    for row in rows:
        if row["bits_a_coordinate"] == 1 and row["coordinates"] == BITS:
            found[f"spearman_{row['scorer']}"] = row["spearman"]
            found[f"top_{TOP}_recall_{row['scorer']}"] = row["top_recall"]
    largest = scans[-1]
    return found | {f"{key}_of_{largest['records']}": largest[key] for key in largest if key != "records"}


def trained(setting: Setting) -> tuple[record_scores.Gradients, dict[str, float]]:
    """One training that follows nobody, and every gradient at its end; CPU seconds that a record's takes."""
    import torch

    from bench.lds import estimates
    from bench.lds.study import Study
    from services.factory.training_run import TrainingRun

    torch.set_num_threads(1)
    study = Study(setting, curvature_samples=1)
    study.training = [replace(example, contributor="") for example in study.training]
    run = TrainingRun(study.spec, study.decoder, study.training, part=None, trunk=study.trunk)
    with run.attached():
        while run.done < len(run.plan):
            _tell(f"{run.done} of {len(run.plan)} steps")
            run.step()
        begun = time.process_time()
        end = estimates.at_the_end(study, run)
        seconds = (time.process_time() - begun) / (len(study.training) + len(study.queries))
    return estimates.of_everything(run, end), {"cpu_seconds_of_a_gradient": round(seconds, 4)}


def agreement(gradients: record_scores.Gradients, kind: str, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Of each scorer of a kind of sketches, for each size in bytes, of one bit and of eight a coordinate."""
    metric, rows = _metric(gradients, kind), []
    steps = record_scores.Less().step(gradients.records, *_moments(gradients)) if kind == "less" else None
    balanced, norms = metric.records(gradients.records, steps)
    exact = {n: record_scores.SCORERS[n](gradients) for n, way in drill_down.SCORERS.items() if way.kind == kind}
    for size in sizes:
        for bits in (1, 8):
            projection = Projection(balanced.shape[1], SEED, size * 8 // bits // 64 * 64)
            score = _signs if bits == 1 else _bytes
            for name, truth in exact.items():
                found = score(projection, metric.answers(gradients.queries), balanced, norms, name)
                row = {"scorer": name, "bytes": size, "bits_a_coordinate": bits, "coordinates": projection.bits}
                rows.append(row | compared(found, truth))
                _tell(str(rows[-1]))
    return rows


def _metric(gradients: record_scores.Gradients, kind: str) -> Metric:
    return Metric.of(kind, gradients.adam(), gradients.sizes)


def _moments(gradients: record_scores.Gradients) -> tuple[Any, Any]:
    return gradients.second_moment, gradients.first_moment


def _signs(projection: Projection, answers: Floats, records: Floats, norms: Floats, name: str) -> Floats:
    """As the product does it."""
    rows = Rows(np.arange(len(records), dtype=np.uint64), norms.astype(np.float32), Signs.of(records, projection))
    return np.stack([drill_down.score(rows, Answer.of(answer, projection), name) for answer in answers])


def _bytes(projection: Projection, answers: Floats, records: Floats, norms: Floats, name: str) -> Floats:
    """As most do it: both sides in int8."""
    whole = (projection.bits,)
    left, right = (np.stack([quantise(v, whole).to_float() for v in projection(side)]) for side in (answers, records))
    way = drill_down.SCORERS[name]
    scores = (way.curved or record_scores.Dot())(record_scores.Gradients(left, right, whole))
    return scores / norms if way.cosine else scores


def compared(found: Floats, exact: Floats) -> dict[str, float]:
    """Means over answers [Q, N]: Spearman over records, share of the true top ten that is found, same record first."""
    count = min(TOP, exact.shape[1])
    ranks = [float(spearman(*pair)) for pair in zip(found, exact, strict=True)]
    best = [[set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in side] for side in (found, exact)]
    recall = [len(ours & theirs) / count for ours, theirs in zip(*best, strict=True)]
    first = np.mean(found.argmax(1) == exact.argmax(1))
    means = {
        "spearman": np.mean(ranks),
        "least_spearman": min(ranks),
        "top_recall": np.mean(recall),
        "same_first": first,
    }
    return {key: round(float(value), 4) for key, value in means.items()}


def sketching(gradients: record_scores.Gradients) -> dict[str, float]:
    """CPU seconds that a record's and an answer's sketch take, in Adam's metric, 16 records at a time."""
    size, metric, some = sum(gradients.sizes), _metric(gradients, "adam"), gradients.records[:16]
    header = Header(SEED, BITS, "adam", (Parameter("all", (size,)),), ((address(0), len(some)),))
    rows = Rows.of(header, metric, range(len(some)), some)
    sketches = RecordSketches(header, metric, rows)
    record = _median(lambda: Rows.of(header, metric, range(len(some)), some)) / len(some)
    answer = _median(lambda: drill_down.sketch_answer(sketches, gradients.queries[0]))
    return {"cpu_seconds_of_a_records_sketch": round(record, 5), "cpu_seconds_of_an_answers_sketch": round(answer, 5)}


def scan(records: int) -> dict[str, Any]:
    """Seconds and memory of one answer against a file of random rows, EACH a contributor."""
    people = tuple((address(c), EACH) for c in range(records // EACH))
    header = Header(SEED, BITS, "adam", (Parameter("all", (1000,)),), people)
    metric = Metric("adam", np.zeros(1000, dtype=np.int8))
    with tempfile.TemporaryDirectory(prefix="records-") as folder:
        if shutil.disk_usage(folder).free < 2 * records * 4096:
            raise SystemExit(f"{folder} has no room for {records} records of 4 KB; set TMPDIR to another disk")
        path = Path(folder) / "record_sketches.safetensors"
        with path.open("wb") as file:
            file.writelines(encode(header, metric, _random_rows(len(people))))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        measured = _scanned(path, [who for who, _ in people])
    _tell(f"{records} records: {measured}")
    return {"records": records} | measured


def _random_rows(people: int) -> Iterator[Rows]:
    draw, ones = np.random.default_rng(0), np.ones(EACH, dtype=np.float32)
    for c in range(people):
        signs = np.frombuffer(draw.bytes(EACH * BITS // 8), dtype=np.uint8).reshape(EACH, BITS // 8)
        yield Rows(np.arange(c * EACH, (c + 1) * EACH, dtype=np.uint64), ones, Signs(signs, ones))


def _scanned(path: Path, people: list[str]) -> dict[str, Any]:
    begun = time.perf_counter()
    sketches = RecordSketches.open(path)
    opened = time.perf_counter() - begun
    answer = drill_down.sketch_answer(sketches, np.random.default_rng(1).normal(size=1000))
    begun = time.perf_counter()
    drill_down.top_records(sketches, answer, people)
    cold = time.perf_counter() - begun
    warm = _median(lambda: drill_down.top_records(sketches, answer, people))
    one = _median(lambda: drill_down.top_records(sketches, answer, people[-1:]))
    tracemalloc.start()
    drill_down.top_records(sketches, answer, people[:100])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "bytes_a_record": round(path.stat().st_size / (len(people) * EACH), 1),
        "seconds_to_open": round(opened, 4),
        "seconds_from_disk": round(cold, 4),
        "cpu_seconds": round(warm, 4),
        f"cpu_seconds_of_one_contributor_of_{EACH}": round(one, 5),
        "megabytes_beside_the_file": round(peak / 2**20, 2),
    }


def _median(work: Callable[[], object]) -> float:
    """CPU seconds, of three times: one thread, so also those of an idle machine's clock."""
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
