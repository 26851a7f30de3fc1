"""What Prometheus hears of a gateway, beside what it hears of the stream behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from nanostream.gateway.service import Service

__all__ = ["GatewayMetrics"]

_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class GatewayMetrics:
    """Counts of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "nanostream_gateway_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self._bytes = Counter("nanostream_gateway_sent_bytes", "Bytes of answers", registry=self.registry)
        self._seconds = Histogram(
            "nanostream_gateway_seconds",
            "Time from a request to the end of its answer",
            ["route"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.requests = 0

    def answered(self, route: str, status: int, seconds: float, nbytes: int) -> None:
        """Count one request; routes are the names of functions, so there are few."""
        self.requests += 1
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._bytes.inc(nbytes)

    def watch(self, service: Service) -> None:
        """Tell how the service stands whenever somebody asks."""
        self.registry.register(_Standing(service))


class _Standing(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        service = self._service
        values = {
            "rendering": ("Requests that workers are busy for", service.singles.inside + service.bulk.inside),
            "waiting": ("Requests that wait for room", service.singles.waiting + service.bulk.waiting),
            "streams": ("Streams open", service.streams.inside),
            "starved": ("Consumers that wait for a sample", service.larder.starved),
            "memory_bytes": ("Bytes of samples kept in memory", service.larder.kept_bytes),
            "cache_bytes": ("Bytes of shards on disk", service.shards.nbytes),
        }
        for name, (text, value) in values.items():
            gauge = Gauge(f"nanostream_gateway_{name}", text, registry=None)
            gauge.set(value)
            yield from gauge.collect()
