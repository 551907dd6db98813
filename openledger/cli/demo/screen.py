"""How the demo talks to people: numbered stages with their seconds, bars for long work, and plain lines.

Everything goes to stderr, so that `--json` leaves stdout to the report.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

STAGES = 8


class Screen:
    """The terminal, and how long each stage took."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}
        self._stage = 0

    @contextmanager
    def stage(self, key: str, title: str) -> Iterator[None]:
        """A numbered stage; its time is added to `seconds[key]`."""
        self._stage += 1
        self.console.print(f"\n[bold]{self._stage}/{STAGES}  {title}[/bold]")
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - started

    def line(self, text: str) -> None:
        """One line under the stage."""
        self.console.print(f"     {text}")

    @contextmanager
    def bar(self, text: str, total: float | None) -> Iterator[tuple[Progress, TaskID]]:
        """A progress bar; without a total, a spinner."""
        columns = (
            TextColumn("    "),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(24),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield progress, progress.add_task(text, total=total)


def short(address: str) -> str:
    """An address as people compare them."""
    return f"{address[:6]}…{address[-4:]}"
