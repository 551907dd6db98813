"""Builds the services' images with buildah: `python -m deploy.images ledger datanet`, or `make images`.

BASE is an image with Python 3.11 and venv, best named by digest. Where no registry can be reached, `--debootstrap`
makes one of Debian's packages. Each image's list of packages (CycloneDX) comes out beside it, in build/images. What it
does not know: registries; push what it made with buildah or podman.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "images"
SERVICES = ("ledger", "datanet", "factory", "openlora", "attribution")
BASE = "docker.io/library/python:3.11-slim-bookworm"
LOCAL_BASE = "localhost/openledger-base:bookworm"
SUITE, PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INDEX = ("TORCH_INDEX", "PIP_INDEX_URL", "PIP_CERT")
"""Where packages come from; build arguments of the stages that install."""
SBOM = "/opt/openledger/sbom.cdx.json"


class BuildError(RuntimeError):
    """What failed, and what it said."""


def run(*command: str) -> str:
    """What a program prints.

    Raises:
        BuildError: it is not there, or it failed.
    """
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is missing: apt-get install buildah podman runc debootstrap") from None
    if ran.returncode:
        raise BuildError(f"{' '.join(command[:3])} ...: {(ran.stderr or ran.stdout)[-3000:]}")
    return ran.stdout


def debootstrapped(mirror: str) -> str:
    """The name of a base image of Debian's packages alone, made if it is not there."""
    if run("buildah", "images", "--quiet", "--filter", f"reference={LOCAL_BASE}").strip():
        return LOCAL_BASE
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        where = (SUITE, str(root), *((mirror,) if mirror else ()))
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", *where)
        for left in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
            left.unlink()
        made = run("buildah", "from", "scratch").strip()
        run("buildah", "add", "--quiet", made, str(root), "/")
        run("buildah", "commit", "--quiet", "--rm", made, LOCAL_BASE)
    return LOCAL_BASE


def version() -> str:
    """Of the distribution, which is the chart's appVersion."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def revision() -> str:
    """The commit that is built."""
    return run("git", "-C", str(ROOT), "rev-parse", "HEAD").strip()


def build(service: str, given: argparse.Namespace, base: str) -> dict[str, str | int]:
    """One image; its name, id and size in bytes. Its list of packages is written."""
    gpu = given.gpu and service == "openlora"
    prefix = f"{given.registry}/" if given.registry else ""
    name = f"{prefix}openledger-{service}{'-gpu' if gpu else ''}:{version()}"
    arguments = {"BASE": base, "VERSION": version(), "REVISION": revision(), "ENGINE": "gpu" if gpu else "cpu"}
    command = ["buildah", "bud", "--quiet", "--layers", "--target", service, "--tag", name, "--network", "host"]
    command += [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    if given.wheels:
        command += ["--volume", f"{given.wheels.resolve()}:/wheels:ro"]
    if CERTIFICATES.is_file():  # a registry behind a company's own authority
        command += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    command += [part for key in INDEX for part in _told(key)]
    run(*command, "--file", str(ROOT / "deploy" / "Containerfile"), str(ROOT))
    (image,) = json.loads(run("buildah", "images", "--json", name))
    _write_list(name, OUT / f"openledger-{service}.cdx.json")
    return {"image": name, "id": str(image["id"])[:12], "bytes": _size(name)}


def _told(key: str) -> tuple[str, ...]:
    """For the stages that install: `--env` would stay in the image, and an index's address may have a password."""
    value = os.environ.get(f"OPENLEDGER_{key}" if key == "TORCH_INDEX" else key, "")
    return ("--build-arg", f"{key}={value}") if value else ()


def _write_list(name: str, target: Path) -> None:
    container = run("buildah", "from", name).strip()
    try:
        mounted = run("buildah", "mount", container).strip()
        target.write_bytes(Path(mounted + SBOM).read_bytes())
    finally:
        run("buildah", "rm", container)


def _size(name: str) -> int:
    return int(json.loads(run("podman", "image", "inspect", name))[0]["Size"])


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=f"default: {' '.join(SERVICES)}")
    parser.add_argument("--base", default=BASE, help="image, best by digest; default: %(default)s")
    parser.add_argument("--debootstrap", action="store_true", help="make the base of Debian's packages instead")
    parser.add_argument("--mirror", default="", help="of Debian, for debootstrap")
    parser.add_argument("--registry", default="", help="put before the images' names")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that are taken before an index's")
    parser.add_argument("--gpu", action="store_true", help="openlora for NVIDIA GPUs, as openledger-openlora-gpu")
    given = parser.parse_args()
    if unknown := [name for name in given.services if name not in SERVICES]:
        parser.error(f"no such service: {', '.join(unknown)}")
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        base = debootstrapped(given.mirror) if given.debootstrap else given.base
        for service in given.services or SERVICES:
            made = build(service, given, base)
            print(f"{made['image']}  {made['id']}  {int(made['bytes']) / 2**20:.0f} MiB", flush=True)
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
