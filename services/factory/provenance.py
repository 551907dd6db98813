"""What a run is made with: this package, the libraries whose releases change its bytes, and the sources themselves.

The sources are named by one digest, so that work of other code is not taken for the same, whatever its version says.
Knows nothing of data, models or machines.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import openledger

LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
_ROOT = Path(openledger.__file__).resolve().parents[1]
_SOURCES = (_ROOT / "openledger", Path(__file__).resolve().parent)


@cache
def code() -> str:
    """For people and manifests: versions, the digest of the sources, and the commit where this is a checkout."""
    commit = _commit(_ROOT)
    return f"{_versions()}, sources {sources(_SOURCES)[:16]}" + (f", commit {commit}" if commit else "")


def is_this(said: str) -> bool:
    """Whether this is the code that a manifest names, whatever its commit."""
    return said.partition(", commit ")[0] == code().partition(", commit ")[0]


@cache
def key() -> str:
    """For names of work: the same where the same would come out, so without the commit.  Hex SHA-256."""
    return hashlib.sha256(f"{_versions()}\n{sources(_SOURCES)}".encode()).hexdigest()


def sources(folders: Iterable[Path]) -> str:
    """Hex SHA-256 over all Python files in these folders, with their places."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            content = file.read_bytes()
            digest.update(f"{folder.name}/{file.relative_to(folder).as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def _versions() -> str:
    return ", ".join([f"openledger {openledger.__version__}", *filter(None, map(_version, LIBRARIES))])


def _version(library: str) -> str:
    try:
        return f"{library} {metadata.version(library)}"
    except metadata.PackageNotFoundError:
        return ""


def _commit(root: Path) -> str:
    if not (root / ".git").exists():
        return ""
    command = ("git", "-C", str(root), "rev-parse", "HEAD")
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - our own
        return told.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
