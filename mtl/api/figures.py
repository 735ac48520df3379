"""What Prometheus may ask: requests, texts and tokens as they come, and what the service holds at this moment."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from mtl.service.service import Service

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Figures:
    """The figures of one app, in a registry of their own. Route and status are labels, never a text or a client."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=self.registry)
        self._requests = Counter(
            "mtl_http_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "mtl_http_request_seconds",
            "From the first byte asked to the last byte answered",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._texts = Counter("mtl_texts", "Texts read", ("route",), registry=self.registry)
        self._tokens = Counter("mtl_tokens", "Tokens read", ("route",), registry=self.registry)
        self.registry.register(_Held(service))

    def add(self, method: str, route: str, status: int, seconds: float, read: dict[str, int]) -> None:
        """Counts a request that is over."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if read:
            self._texts.labels(route).inc(read["texts"])
            self._tokens.labels(route).inc(read["tokens"])


class _Held:
    """Asked at each scrape."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def collect(self) -> Iterator[Metric]:
        """What the service holds now."""
        held = self.service.held()
        for name, value, said in (
            ("mtl_requests_waiting", held.requests, "REST requests worked on or waiting"),
            ("mtl_runs", held.runs, "Training runs that train or wait"),
            ("mtl_sessions", held.sessions, "Pages with something of their own"),
            ("mtl_tuned_models", held.models, "Tuned models of all sessions"),
            ("mtl_tuned_model_bytes", held.model_bytes, "Bytes of their weights"),
        ):
            yield GaugeMetricFamily(name, said, value=value)
