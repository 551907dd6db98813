"""What OpenLoRA measures of itself; names become `openledger_openlora_<name>`."""

from __future__ import annotations

from collections.abc import Callable

from services.kit.metrics import Metrics


class Meters:
    """The service's own metrics, beside those that every service has."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.tokens_in = metrics.counter("tokens_in_total", "Prompt tokens of completed answers")
        self.tokens_out = metrics.counter("tokens_out_total", "Generated tokens of completed answers")
        self.answers = metrics.counter("answers_total", "Answers by what became of them", "outcome")
        self.first_text = metrics.histogram("first_text_seconds", "From request to the first text of its answer")
        self.trace_log = metrics.gauge("trace_log_high_watermark", "Last offset of the trace log")

    def watch(self, **gauges: Callable[[], float]) -> None:
        """Gauges that are read when somebody looks: queued, running, leases."""
        for name, value in gauges.items():
            self._metrics.gauge(name, _TEXTS[name]).set_function(value)


_TEXTS = {
    "queued": "Requests that wait for their turn at the engine",
    "running": "Answers being generated",
    "leases": "Leases that were not given back to the ledger",
    "disk_full": "1 while nothing is admitted because the disk is full",
}
