"""The same answers scored by others: dattri, bergson and infini-gram beside ours, on one adapter, against retraining.

    python -m bench peers                      all of them, on the setting hpo-0 of the LDS study
    python -m bench peers --library bergson    one of LIBRARIES (again to name several); the others' rows stay
    python -m bench peers --quick              few people and records: minutes, the same code

Agreement is with the models of ``bench lds``, retrained without each contributor and on random halves of them: found in
the cache, or retrained first. Everything else is the same for all: the trained adapter in float32, the tokens, one
thread. Costs are CPU time and the peak of memory; those of bergson and infini-gram are of processes of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import lds, result
from bench.lds.study import Setting

if TYPE_CHECKING:
    from bench.lds.study import Study, Truth
    from bench.peers.arm import Arm, Failure

SETTING = lds.SETTINGS["hpo-0"]
OURS, DATTRI, BERGSON, INFINI_GRAM = LIBRARIES = ("openledger", "dattri", "bergson", "infini-gram")


def main(*, quick: bool, libraries: Sequence[str] = ()) -> None:
    """Measure; writes bench/results/peers.json and peers.png, or those of peers-quick, after each method."""
    for library in libraries or LIBRARIES:
        if library not in LIBRARIES:
            raise SystemExit(f"there is no library {library!r}: choose from {', '.join(LIBRARIES)}")
        rows: list[dict[str, Any]] = []
        for row in measure(lds.QUICK if quick else SETTING, library):
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
            write("peers-quick" if quick else "peers", library, rows)


def measure(setting: Setting, library: str, cache: Path | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one library: see ``bench.peers.report``."""
    import torch

    from bench.lds.study import Study
    from bench.peers import report

    torch.set_num_threads(1)
    study = Study(setting, cache)
    truth = study.truth()
    for arm in _arms(study, truth, library):
        yield report.row(study, truth, arm) | {"measured_with": library}


def _arms(study: Study, truth: Truth, library: str) -> Iterator[Arm | Failure]:
    import torch

    from bench.peers import in_bergson, in_dattri, in_infini_gram, own, scene

    if library == BERGSON:
        yield from in_bergson.arms(study, torch.from_numpy(truth.full))
    elif library == INFINI_GRAM:
        yield from in_infini_gram.arms(study)
    else:
        room = scene.followed(study, truth) if library == OURS else scene.ended(study, truth)
        with room.run.attached():
            yield from own.arms(room) if library == OURS else in_dattri.arms(room)


def write(name: str, library: str, rows: list[dict[str, Any]]) -> None:
    """The result of one library, beside those that were measured before."""
    from bench.peers import report

    file = result.FOLDER / f"{name}.json"
    before = json.loads(file.read_text())["rows"] if file.exists() else []
    every = sorted(
        [row for row in before if row["measured_with"] != library] + rows,
        key=lambda row: LIBRARIES.index(row["measured_with"]),
    )
    setting = vars(SETTING if name == "peers" else lds.QUICK)
    result.write(name, report.figures(every), seed=0, settings=setting | {"threads": 1}, rows=every)
    if any("lds" in row for row in every):
        file.with_suffix(".png").write_bytes(report.picture(every))
