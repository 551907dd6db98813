"""How far two honest trainings end apart on other machines, beside how far off lies are.

    python -m bench retraining                 smollm2-135m-instruct, in float32 and bfloat16
    python -m bench retraining --quick         fewer records, float32 alone, the same code

What one machine published is compared as `openledger verify training` does (`openledger.retrained`) with what others
make again.  The others are this one with less of it: another number of threads, other instructions and other kernels,
which are told to libraries as they start.  Distances are Euclidean, of the length of what is made again: of the
weights' way through the whole training, of contribution vectors, and of by how much leaving somebody out moved the
weights.  The lies are rows of the latter: random numbers, another contributor's row, 1.1 times the true one, that of a
run with another seed, and the true one a little longer in the direction in which questions pull, which whoever serves
them knows.  By how much that changes a score, of its size, is told with it (`worth`).

Trainings are kept under $OPENLEDGER_CACHE/retraining, so a run that was stopped goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench import result
from bench.lds.study import Setting
from openledger import canonical
from openledger.cache import cache_folder
from openledger.influence.quantize import quantise
from openledger.retrained import apart, likeness
from services.factory import provenance

SETTING = Setting("retraining", epochs=2, layers=2, contributors=4, records=3, queries=1)
BATCH = 4
QUICK = Setting("retraining-quick", epochs=1, layers=2, contributors=4, records=2, queries=1)
LEFT_OUT = 2
PRECISIONS = ("float32", "bfloat16")
TINY_LIE = 1.1
ASIDE = 0.049
"""Of a row's length: just less than what is wrong on another machine."""

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Machine:
    """What of this one may be used."""

    threads: int = 2
    onednn: bool = True
    deterministic: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    """Read by libraries as they start."""


def _instructions(aten: str, onednn: str, mkl: str) -> dict[str, str]:
    return {"ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "MKL_ENABLE_INSTRUCTIONS": mkl}


PUBLISHER = "as it is, two threads"
MACHINES = {
    PUBLISHER: Machine(),
    "the same, deterministic algorithms": Machine(deterministic=True),
    "one thread": Machine(threads=1),
    "AVX2": Machine(environment=_instructions("avx2", "AVX2", "AVX2")),
    "SSE4": Machine(environment=_instructions("default", "SSE41", "SSE4_2")),
    "without oneDNN": Machine(onednn=False),
    "MKL's compatible kernels": Machine(environment={"MKL_CBWR": "COMPATIBLE"}),
}


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/retraining.json or retraining-quick.json."""
    setting, precisions = (QUICK, PRECISIONS[:1]) if quick else (SETTING, PRECISIONS)
    rows = [row for precision in precisions for row in measure(setting, precision)]
    settings: dict[str, Any] = {"setting": vars(setting), "batch": BATCH, "left_out": LEFT_OUT}
    settings["machines"] = {name: asdict(machine) for name, machine in MACHINES.items()}
    name = "retraining-quick" if quick else "retraining"
    print(result.write(name, figures(rows), seed=setting.seed, settings=settings, rows=rows))


def measure(setting: Setting, precision: str) -> list[dict[str, Any]]:
    """A row a machine, and one a lie."""
    made = {name: trained(setting, precision, machine, name) for name, machine in MACHINES.items()}
    other = trained(setting, precision, MACHINES[PUBLISHER], "another seed", seed=setting.seed + 1)
    published = made[PUBLISHER]
    honest = [{"made": name, **compared(published, again)} for name, again in made.items() if name != PUBLISHER]
    lies = [
        {"lie": name, **least(published, rows), "worth": worth(published, rows)}
        for name, rows in told(published, other, setting.seed)
    ]
    return [{"precision": precision, **row} for row in (*honest, *lies)]


def trained(setting: Setting, precision: str, machine: Machine, name: str, **changes: Any) -> Arrays:
    """See `bench.retraining.worker`.  name: tells trainings apart that should be the same."""
    order = {
        "setting": vars(setting),
        "changes": {"precision": precision, "batch_size": BATCH, **changes},
        "left_out": LEFT_OUT,
        **{name: getattr(machine, name) for name in ("threads", "onednn", "deterministic")},
    }
    decides = {"order": order, "machine": asdict(machine), "name": name, "code": provenance.key()}
    file = cache_folder("retraining") / f"{canonical.digest(decides)}.npz"
    if not file.exists():
        print(f"{setting.name}, {precision}: {name}", file=sys.stderr, flush=True)
        command = (sys.executable, "-m", "bench.retraining.worker", json.dumps(order | {"file": str(file)}))
        subprocess.run(command, check=True, env={**os.environ, **machine.environment})
    with np.load(file) as arrays:
        return dict(arrays)


def compared(published: Arrays, again: Arrays) -> dict[str, Any]:
    """What was published, as one machine made it, beside what another one made; losses in nats a token."""
    way, its = published["theta"] - published["start"], again["theta"] - again["start"]
    follow = _rows(published, published["vectors"], again["vectors"])
    moved = _rows(published, *(published["theta"] - each["without"] for each in (published, again)))
    return {
        "same_bytes": bool(np.array_equal(published["theta"], again["theta"])),
        "weights": apart(way, its)[0],
        "followed": max(one.distance for one in follow),
        "followed_cosine": min(one.cosine for one in follow),
        "left_out": max(one.distance for one in moved),
        "left_out_cosine": min(one.cosine for one in moved),
        "entries": sum(one.differing for one in moved) / moved[0].entries / len(moved),
        "losses": float(np.abs(published["losses"] - again["losses"]).max()),
    }


def _rows(published: Arrays, rows: Any, again: Any) -> list[Any]:
    sizes = published["sizes"].tolist()
    return [likeness(quantise(row, sizes), made) for row, made in zip(rows, again, strict=True)]


def told(published: Arrays, other: Arrays, seed: int) -> Iterator[tuple[str, Any]]:
    """Lies about who moved the weights by how much [LEFT_OUT, P], by what they are."""
    true = published["theta"] - published["without"]
    made_up = np.random.default_rng(seed).standard_normal(true.shape)
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (true, made_up)]
    yield "random numbers of its length", made_up * lengths[0] / lengths[1]
    yield "another contributor's", np.roll(true, 1, axis=0)
    yield "1.1 times the true one", TINY_LIE * true
    yield "of a run with another seed", other["theta"] - other["without"]
    yield "a little longer where questions pull", true - ASIDE * lengths[0] * _pull(published)


def _pull(published: Arrays) -> Any:
    """The direction of the questions' mean gradient [P]; a score is minus its product with a row."""
    pull = published["pull"].astype(np.float64)
    return pull / np.linalg.norm(pull)


def worth(published: Arrays, lies: Any) -> float:
    """By how much lies [LEFT_OUT, P] change the score of the questions' mean, of its size: the median row."""
    true = (published["theta"] - published["without"]) @ _pull(published)
    return float(np.median(np.abs(lies @ _pull(published) - true) / np.abs(true)))


def least(published: Arrays, lies: Any) -> dict[str, Any]:
    """The lie that is nearest to the truth."""
    found = _rows(published, lies, published["theta"] - published["without"])
    return {"left_out": min(one.distance for one in found), "left_out_cosine": max(one.cosine for one in found)}


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The furthest that honest trainings came apart, the nearest lie and what it is worth, a precision."""
    found: dict[str, float] = {}
    for precision in dict.fromkeys(row["precision"] for row in rows):
        mine = [row for row in rows if row["precision"] == precision]
        honest = [row for row in mine if "made" in row]
        found |= {f"{precision}_honest_{w}": max(row[w] for row in honest) for w in ("weights", "followed", "left_out")}
        found[f"{precision}_honest_losses"] = max(row["losses"] for row in honest)
        lies = [row for row in mine if "lie" in row]
        found[f"{precision}_lies"] = min(row["left_out"] for row in lies)
        found[f"{precision}_worth_of_nearest_lie"] = min(lies, key=lambda row: row["left_out"])["worth"]
    return found
