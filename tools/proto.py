"""Generates the gRPC stubs under openledger/ from proto/; with --check says whether the committed ones are current.

python -m tools.proto           python -m tools.proto --check
"""

from __future__ import annotations

import filecmp
import importlib.resources
import shutil
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto"
GOOGLEAPIS = ROOT / "build" / "googleapis"
HEADER = '"""Generated from proto/ by `make proto`."""\n'


def includes() -> list[str]:
    """Where imported protos lie: ours, protobuf's own, and Google's API protos (all inside installed wheels).

    The wheel ships operations.proto under another name than the one its Python module registers, hence the copy; buf,
    which cannot reach its registry everywhere, reads the same folder (buf.yaml).
    """
    wheel = Path(str(distribution("googleapis-common-protos").locate_file("google")))
    shutil.rmtree(GOOGLEAPIS, ignore_errors=True)
    for name in ("annotations", "client", "field_behavior", "http", "launch_stage"):
        copy(wheel / "api" / f"{name}.proto", GOOGLEAPIS / "google" / "api" / f"{name}.proto")
    copy(wheel / "rpc" / "status.proto", GOOGLEAPIS / "google" / "rpc" / "status.proto")
    operations = GOOGLEAPIS / "google" / "longrunning" / "operations.proto"
    copy(wheel / "longrunning" / "operations_proto.proto", operations)
    return [str(PROTO), str(importlib.resources.files("grpc_tools") / "_proto"), str(GOOGLEAPIS)]


def copy(source: Path, target: Path) -> None:
    """Copy a file, making its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def generate(out: Path) -> list[Path]:
    """Write every stub under `out`; returns the files, relative to it."""
    sources = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    # protoc finds its mypy plugins on the PATH; name them, so that an unactivated environment works too.
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    if protoc.main(["protoc", *[f"-I{i}" for i in includes()], *plugins, *outputs, *sources]) != 0:
        raise SystemExit("protoc failed")
    for source in sources:
        for folder in (out / Path(source).parent, (out / Path(source).parent).parent):
            (folder / "__init__.py").write_text(HEADER)
    stubs = [p for p in (out / "openledger").rglob("*_pb2*") if p.suffix in (".py", ".pyi")]
    return sorted(p.relative_to(out) for p in stubs)


def main() -> int:
    """Command line."""
    if "--check" not in sys.argv[1:]:
        files = generate(ROOT)
        print(f"{len(files)} stub files written under openledger/")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        stale = [
            str(f)
            for f in generate(Path(folder))
            if not (ROOT / f).exists() or not filecmp.cmp(Path(folder) / f, ROOT / f, shallow=False)
        ]
    if stale:
        print("stubs are not what proto/ says; run `make proto`:\n  " + "\n  ".join(stale))
        return 1
    print("stubs are current")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
