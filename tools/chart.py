"""Renders the chart's profiles: `python -m tools.chart` compares them with the golden files, `--renew` writes those.

What it does not know: whether what is rendered is right, which is what tests/deploy is for.
"""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tools import helm
from tools.run_pip import SetupError

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "openledger"
GOLDEN = ROOT / "tests" / "deploy" / "golden"
PROFILES: dict[str, tuple[str, ...]] = {
    "default": (),
    "trial": ("trial",),
    "production": ("production",),
    "gpu": ("production", "gpu"),
}
"""Name -> the values files, each over the one before."""
KEPT = ("default", "production")
"""Profiles with a golden file; the others are a few lines beside one of these."""


class Refused(ValueError):
    """Helm does not render these values; the text is what it says."""


def values(profile: str) -> tuple[str, ...]:
    """Helm's arguments for a profile."""
    return tuple(part for name in PROFILES[profile] for part in ("--values", str(CHART / f"values-{name}.yaml")))


def render(profile: str, *arguments: str) -> str:
    """What an installation of the profile is made of.

    Raises:
        Refused: it is made of nothing.
    """
    command = (str(helm.fetch()), "template", "openledger", str(CHART), "--namespace", "ol", *values(profile))
    ran = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Refused(ran.stderr)
    return ran.stdout


def objects(rendered: str) -> list[dict[str, Any]]:
    """What was rendered, object by object."""
    return [each for each in yaml.safe_load_all(rendered) if each]


def settled(rendered: str) -> str:
    """The same without what is random or stands in a file of its own: of Secrets and ConfigMaps of files the keys."""
    found = objects(rendered)
    for each in found:
        name = each["metadata"]["name"]
        if each["kind"] == "Secret" or (
            each["kind"] == "ConfigMap" and ("-dashboard-" in name or name.endswith("-test"))
        ):
            each["data"] = dict.fromkeys(each["data"], "")
        if each["kind"] == "PrometheusRule":
            each["spec"]["groups"] = [group["name"] for group in each["spec"]["groups"]]
    found.sort(key=lambda each: (each["kind"], each["metadata"]["name"]))
    return "---\n".join(yaml.safe_dump(each, sort_keys=True, width=160) for each in found)


def difference(profile: str) -> str:
    """From the golden file to what is rendered now; empty where there is none."""
    file = GOLDEN / f"{profile}.yaml"
    golden = file.read_text(encoding="utf-8") if file.is_file() else ""
    now = settled(render(profile))
    return "".join(difflib.unified_diff(golden.splitlines(True), now.splitlines(True), str(file), "rendered now"))


def main(arguments: list[str]) -> int:
    """The exit status."""
    changed = 0
    for profile in KEPT:
        if arguments == ["--renew"]:
            GOLDEN.mkdir(parents=True, exist_ok=True)
            (GOLDEN / f"{profile}.yaml").write_text(settled(render(profile)), encoding="utf-8")
        elif text := difference(profile):
            sys.stdout.write(text)
            changed = 1
    return changed


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Refused, SetupError) as error:
        sys.exit(f"chart: {error}")
