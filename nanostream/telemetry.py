"""Every Prometheus metric, named once, and the plain counters behind a live line.

Nothing is registered at import, and never in prometheus_client's global registry: `metrics()` makes
the process's own registry when it is first asked for. No label grows with the length of a stream.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Self

from nanostream.errors import StreamError

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["RAY_METRICS", "Metrics", "MetricsPage", "StreamCounters", "StreamStats", "metrics", "serve_metrics"]

RAY_METRICS = (
    "ray_node_cpu_count",
    "ray_node_cpu_utilization",
    "ray_node_gpus_utilization",
    "ray_node_mem_total",
    "ray_node_mem_used",
)
"""Ray's own, that the dashboard and the alerts read beside those of this process."""

_SECONDS_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of this process; base units, `nanostream_` before each name."""

    registry: CollectorRegistry
    samples_rendered: Counter
    samples_delivered: Counter
    bytes_rendered: Counter
    bytes_delivered: Counter
    render_seconds: Histogram
    wait_seconds: Histogram
    starved_ratio: Gauge
    leases_in_flight: Gauge
    bytes_in_flight: Gauge
    leases_again: Counter
    leases_hedged: Counter
    workers_wanted: Gauge
    workers_alive: Gauge
    worker_restarts: Counter
    resident_bytes: Gauge


@functools.cache
def metrics() -> Metrics:
    """The metrics of this process, made on the first call."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    registry = CollectorRegistry()

    def counter(name: str, text: str) -> Counter:
        return Counter(f"nanostream_{name}", text, registry=registry)

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"nanostream_{name}", text, registry=registry)

    def seconds(name: str, text: str) -> Histogram:
        return Histogram(f"nanostream_{name}", text, registry=registry, buckets=_SECONDS_BUCKETS)

    return Metrics(
        registry=registry,
        samples_rendered=counter("samples_rendered", "Samples that render workers returned"),
        samples_delivered=counter("samples_delivered", "Samples handed to the consumer, each index once"),
        bytes_rendered=counter("rendered_bytes", "Bytes of images and masks that render workers returned"),
        bytes_delivered=counter("delivered_bytes", "Bytes of images and masks handed to the consumer"),
        render_seconds=seconds("render_seconds", "Time that one sample took in its render worker"),
        wait_seconds=seconds("wait_seconds", "Time that the consumer waited for one sample"),
        starved_ratio=gauge("starved_ratio", "Share of its time that the consumer has waited, from 0 to 1"),
        leases_in_flight=gauge("leases_in_flight", "Leases asked for and not yet handed to the consumer"),
        bytes_in_flight=gauge("in_flight_bytes", "Bytes of the samples asked for and not yet handed to the consumer"),
        leases_again=counter("leases_again", "Leases asked for again after a lost worker or a failed sample"),
        leases_hedged=counter("leases_hedged", "Leases asked of a second worker while the first was silent"),
        workers_wanted=gauge("workers_wanted", "Render workers that there should be"),
        workers_alive=gauge("workers_alive", "Render workers that are ready"),
        worker_restarts=Counter(
            "nanostream_worker_restarts",
            "Render workers started again: lost, frozen, hung, or grown in resident size",
            ["cause"],
            registry=registry,
        ),
        resident_bytes=gauge("resident_bytes", "Memory that the render workers hold, as they last said"),
    )


class MetricsPage:
    """A page that Prometheus reads; a context manager."""

    def __init__(self, server: WSGIServer, thread: threading.Thread, host: str) -> None:
        self._server = server
        self._thread = thread
        self.url = f"http://{host}:{server.server_port}/metrics"

    def close(self) -> None:
        """Serve no more; more calls do nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_metrics(port: int, *, host: str = "127.0.0.1") -> MetricsPage:
    """Serve this process's metrics, which hold what its render workers counted, from a thread of its own.

    port: 0 takes a free one, see `url`. host: only this machine unless told. Raises StreamError
    where the port is taken.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr=host, registry=metrics().registry)
    except (OSError, OverflowError) as error:
        msg = f"expected a free port for the metrics, got {host}:{port} ({error}); name another port"
        raise StreamError(msg) from error
    return MetricsPage(server, thread, host)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamStats:
    """What a live line shows: counts since the stream began, in this process."""

    samples_rendered: int
    samples_delivered: int
    leases_again: int
    leases_hedged: int
    peak_bytes_in_flight: int
    elapsed_seconds: float
    wait_seconds: float
    render_seconds: float

    @property
    def samples_per_second(self) -> float:
        """Samples delivered a second since the first one was asked for."""
        return self.samples_delivered / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    @property
    def starved_share(self) -> float:
        """Share of the time since the first sample was asked for that the consumer waited, 0 to 1."""
        return min(1.0, self.wait_seconds / self.elapsed_seconds) if self.elapsed_seconds > 0 else 0.0


class StreamCounters:
    """Counts of one engine in this process; each count also goes to the process's metrics."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._asked_at: float | None = None
        self._rendered = 0
        self._delivered = 0
        self._again = 0
        self._hedged = 0
        self._peak_bytes = 0
        self._wait_seconds = 0.0
        self._render_seconds = 0.0

    def rendered(self, samples: int, seconds: float, nbytes: int) -> None:
        """Count samples that came from a render worker, the time they took there, and their bytes."""
        if not samples:
            return
        self._rendered += samples
        self._render_seconds += seconds
        metrics().samples_rendered.inc(samples)
        metrics().bytes_rendered.inc(nbytes)
        metrics().render_seconds.observe(seconds / samples)

    def asked(self) -> None:
        """Note that the consumer waits for a sample from now on."""
        self._asked_at = time.perf_counter()
        if self._began is None:
            self._began = self._asked_at

    def asks_no_more(self) -> None:
        """Note that the consumer waits for nothing."""
        self._asked_at = None

    def delivered(self, nbytes: int) -> None:
        """Count one sample handed on, and how long the consumer has waited for it."""
        now = time.perf_counter()
        wait_seconds = 0.0 if self._asked_at is None else now - self._asked_at
        self._asked_at = None
        self._delivered += 1
        self._wait_seconds += wait_seconds
        all_metrics = metrics()
        all_metrics.samples_delivered.inc()
        all_metrics.bytes_delivered.inc(nbytes)
        all_metrics.wait_seconds.observe(wait_seconds)
        if self._began is not None and now > self._began:
            all_metrics.starved_ratio.set(min(1.0, self._wait_seconds / (now - self._began)))

    def again(self) -> None:
        """Count a lease that is asked for again."""
        self._again += 1
        metrics().leases_again.inc()

    def hedged(self) -> None:
        """Count a lease that is asked of a second worker while the first is silent."""
        self._hedged += 1
        metrics().leases_hedged.inc()

    def in_flight(self, leases: int, nbytes: int) -> None:
        """Note what is asked for and not yet handed on."""
        self._peak_bytes = max(self._peak_bytes, nbytes)
        metrics().leases_in_flight.set(leases)
        metrics().bytes_in_flight.set(nbytes)

    def stats(self) -> StreamStats:
        """The counts as they stand."""
        now, asked_at = time.perf_counter(), self._asked_at
        return StreamStats(
            samples_rendered=self._rendered,
            samples_delivered=self._delivered,
            leases_again=self._again,
            leases_hedged=self._hedged,
            peak_bytes_in_flight=self._peak_bytes,
            elapsed_seconds=0.0 if self._began is None else now - self._began,
            wait_seconds=self._wait_seconds + (0.0 if asked_at is None else now - asked_at),
            render_seconds=self._render_seconds,
        )
