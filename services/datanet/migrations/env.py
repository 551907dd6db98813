"""Alembic's entry: migrate to this service's tables."""

from services.datanet.store import METADATA
from services.kit.migrations import run

run(METADATA)
