"""Traces: one from a client's request through outbox, relay and broker to the last handler.

Exported by OTLP over HTTP when OTEL_EXPORTER_OTLP_ENDPOINT is set; otherwise a client's trace is passed on, and nothing
is recorded. The span of a request is FastAPI's own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.core.errors import DomainError
from shared.messaging.envelope import Envelope

_tracer = trace.get_tracer("shared")
_propagator = TraceContextTextMapPropagator()


@cache
def exporting() -> bool:
    """Whether somebody wants this process's traces."""
    return any(os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def configure_traces(service: str, ratio: float) -> TracerProvider | None:
    """Sets the export up, if there is to be one; the provider is to be shut down at the end, so that nothing is lost.

    `ratio` is the share of traces that begin here and are recorded.
    """
    if not exporting():
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # heavy, and mostly not needed

    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: service}), sampler=ParentBased(TraceIdRatioBased(ratio))
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


@contextmanager
def message_span(envelope: Envelope) -> Iterator[str | None]:
    """The handling of a message, as a child of what sent it. Gives the `traceparent` for what follows from it."""
    if not exporting():
        yield envelope.traceparent
        return
    carrier = {"traceparent": envelope.traceparent} if envelope.traceparent else {}
    with (
        _tracer.start_as_current_span(
            f"{envelope.type} process",
            context=_propagator.extract(carrier),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "process",
                "messaging.message.id": envelope.id,
                "messaging.message.conversation_id": envelope.correlation_id,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        _faults_recorded(span),
    ):
        yield current_traceparent()


def current_traceparent() -> str | None:
    """The present span as a W3C `traceparent`; None where none is recorded."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def _faults_recorded(span: Span) -> Iterator[None]:
    try:
        yield
    except DomainError:
        raise
    except Exception as error:
        span.record_exception(error)
        span.set_status(trace.StatusCode.ERROR, str(error))
        raise
