"""How well scores agree with really training again: the linear datamodeling score (LDS) and leave-one-out agreement.

    python -m bench lds                          the settings of SETTINGS, one after the other
    python -m bench lds --setting hpo-0          one of them (again to name several)
    python -m bench lds --quick                  few people and records, under a minute, the same code

Models that were retrained are kept under $OPENLEDGER_CACHE/lds, so a run that was stopped goes on. Settings that were
measured before stay in the result until they are measured again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import result
from bench.lds.study import Setting

SAMPLES_FOLLOWED = 8
"""Curvature samples that the run takes; the product's default and fewer are followed beside it."""
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("hpo-0", subsets=32, fitted=32),
        Setting("hpo-1", seed=1),
        Setting("docstrings-0", domain="docstrings"),
        Setting("docstrings-1", domain="docstrings", seed=1),
        Setting("hpo-long", seed=2, epochs=7),
        Setting("hpo-all-layers", seed=3, layers=0, records=4),
    )
}
QUICK = Setting("quick", contributors=6, records=3, queries=1, epochs=1, subsets=6, fitted=8)


def main(*, quick: bool, settings: Sequence[str] = ()) -> None:
    """Measure; writes bench/results/lds.json and a picture a setting, or lds-quick.json."""
    if quick:
        write("lds-quick", measure(QUICK, samples=2), [])
        return
    for name in settings or SETTINGS:
        write("lds", measure(SETTINGS[name]), earlier(name))


def measure(setting: Setting, *, samples: int = SAMPLES_FOLLOWED, cache: Path | None = None) -> list[dict[str, Any]]:
    """Rows of one setting: see ``bench.lds.report.rows``."""
    from bench.lds import estimates, followed, report
    from bench.lds.study import Study

    study = Study(setting, cache, curvature_samples=samples)
    truth = study.truth(_teller(setting.name, "models retrained"))
    run = study.run(followed.StudiedRun)
    run.follow()
    tell = _teller(setting.name, "steps followed")
    with run.attached():
        while run.done < len(run.plan):
            tell(run.done, len(run.plan))
            run.step()
        end = estimates.at_the_end(study, run)
        return report.rows(study, truth, estimates.scores(study, truth, run, end))


def write(name: str, rows: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
    """The result of some settings, beside those that were measured before."""
    from bench.lds import report

    order = list(SETTINGS)
    every = sorted(kept + rows, key=lambda row: order.index(row["setting"]) if row["setting"] in order else -1)
    settings = {row["setting"]: vars(SETTINGS.get(row["setting"], QUICK)) for row in every}
    print(result.write(name, report.figures(every), seed=0, settings=settings, rows=every))
    measured = rows[0]["setting"]
    (result.FOLDER / f"lds-{measured}.png").write_bytes(report.picture(every, measured))


def earlier(setting: str) -> list[dict[str, Any]]:
    """Rows of the other settings, from the last result."""
    file = result.FOLDER / "lds.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return [row for row in rows if row["setting"] != setting]


def _teller(setting: str, what: str) -> Callable[[int, int], None]:
    return lambda done, of: print(f"{setting}: {done} of {of} {what}", file=sys.stderr, flush=True)
