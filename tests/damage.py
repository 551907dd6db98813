"""What disks and forgers do to published files."""

from __future__ import annotations

from openledger.artifacts import ArtifactStore


def damage_file(store: ArtifactStore, digest: str, place: int = -1) -> None:
    """Change a bit of an artifact."""
    file = store.root / "sha256" / digest[:2] / digest
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
