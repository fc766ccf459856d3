"""One trace runs unbroken from a client's request through outbox, relay and broker to every handler."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.api import Api, until
from tests.support.infra import Infra
from tests.support.processes import QUICK, running_system

SAGA = ["accounting", "consumer", "kitchen", "order", "restaurant"]


class Collector(ThreadingHTTPServer):
    """Takes what is exported by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Export)
        self.spans: list[Span] = []


class Export(BaseHTTPRequestHandler):
    """A request of an exporter."""

    server: Collector

    def do_POST(self) -> None:
        """Keep the spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest.FromString(body)
        self.server.spans += [
            span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class calls it so
        """Nothing: a test's output is for its failures."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that runs beside the block."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


async def test_a_saga_through_four_services_is_one_trace(infra: Infra) -> None:
    with collecting() as collector:
        settings = {
            **QUICK,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with running_system(infra, SAGA, settings) as system:
            async with Api(system.urls) as api:
                consumer, restaurant = await api.register_consumer(), await api.open_restaurant()
                await api.approved_order(consumer, restaurant)

            def of_the_order() -> list[Span]:
                posts = {span.trace_id for span in collector.spans if span.name == "POST /api/orders"}
                return [span for span in collector.spans if span.trace_id in posts]

            expected = {
                "POST /api/orders",
                "consumer.ValidateOrderByConsumer process",
                "kitchen.CreateTicket process",
                "kitchen.CreateTicketReply process",
                "accounting.AuthorizeOrder process",
                "kitchen.ConfirmCreateTicket process",
                "shared.Done process",
            }

            async def complete() -> bool:
                return expected <= {span.name for span in of_the_order()}

            await until(complete, lambda: f"{sorted({span.name for span in of_the_order()})}")

    spans = of_the_order()
    known = {span.span_id for span in spans}
    (root,) = (span for span in spans if not span.parent_span_id)
    assert root.name == "POST /api/orders"
    assert all(span.parent_span_id in known for span in spans if span is not root)
