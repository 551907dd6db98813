"""Alembic's entry: this service's tables."""

from __future__ import annotations

from services.factory.tables import METADATA
from services.kit.migrations import run

run(METADATA)
