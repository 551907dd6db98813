"""Prometheus metrics: the ones every service has, and a registry for its own.  Label sets are bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """A service's registry.  Names become `openledger_<service>_<what>_<unit>`."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self.rpcs = self.counter("rpcs_total", "RPCs by method and outcome", "method", "code")
        self.rpc_seconds = self.histogram("rpc_seconds", "How long RPCs take", "method")
        self.rpcs_running = self.gauge("rpcs_running", "RPCs in hand")
        self.background_failures = self.counter("background_failures_total", "Background work that failed", "task")

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter; its name ends in `_total`."""
        return Counter(f"openledger_{self.service}_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge; its name ends in its unit, where it has one."""
        return Gauge(f"openledger_{self.service}_{name}", text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        """A histogram; seconds unless other buckets are given."""
        return Histogram(f"openledger_{self.service}_{name}", text, labels, registry=self.registry, buckets=buckets)
