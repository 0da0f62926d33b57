"""Traces: every request and job has W3C trace ids; spans are recorded only where a collector is named.

Without an exporter a request or job has ids and its steps have none of their own: nothing is recorded, and the SDK is not imported.
"""

import functools
import importlib.metadata
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from sqlalchemy.ext.asyncio import AsyncEngine

_PROPAGATOR = TraceContextTextMapPropagator()
_REQUEST_ID = "request_id"
_VERSION = importlib.metadata.version("ragecho")


class _State:
    """What records the spans of the process; nothing does unless it was configured."""

    provider: "TracerProvider | None" = None
    tracer: Tracer | None = None


def configure_tracing(*, role: str, exporter: "SpanExporter | None" = None, is_batched: bool = True) -> None:
    """Use `exporter` for all further spans of this process; None records nothing (ids are still made)."""
    shutdown_tracing()
    if exporter is None:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    resource = Resource.create({"service.name": "ragecho", "service.version": _VERSION, "ragecho.role": role})
    # The SDK reads OTEL_TRACES_SAMPLER; its default follows the parent's decision, else samples everything.
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter) if is_batched else SimpleSpanProcessor(exporter))
    _State.provider, _State.tracer = provider, provider.get_tracer("ragecho", _VERSION)


def shutdown_tracing() -> None:
    """Send what is left and stop; call at the end of a role."""
    if _State.provider is not None:
        _State.provider.shutdown()
    _State.provider = _State.tracer = None


def _unrecorded(parent: Context | None) -> Span:
    """Return a span that only has ids: those of its parent's trace, or of a new one."""
    outer = trace.get_current_span(parent).get_span_context()
    trace_id = outer.trace_id if outer.is_valid else _random_id(128)
    return NonRecordingSpan(
        SpanContext(
            trace_id, _random_id(64), is_remote=False, trace_state=outer.trace_state if outer.is_valid else None
        )
    )


def _random_id(bits: int) -> int:
    # Zero is no id (W3C Trace Context). They tell traces apart and open nothing.
    return random.getrandbits(bits) or 1


class span:  # noqa: N801 - used like a function, as context manager and as decorator
    """A step of the work: `with span("ask.retrieve", k=20) as s:` or `@span("ingest.parse")` on any function.

    An exception marks the span as failed with the exception's type only: messages may quote content.
    """

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_span", "_token")

    def __init__(
        self, name: str, *, kind: SpanKind = SpanKind.INTERNAL, parent: Context | None = None, **attributes: Any
    ) -> None:
        self._name = name
        self._kind = kind
        self._parent = parent
        self._attributes = attributes
        self._span: Span | None = None
        self._token: Any = None

    def __enter__(self) -> Span:
        if _State.tracer is None:
            outer = trace.get_current_span()
            if self._kind is SpanKind.INTERNAL and self._parent is None and outer.get_span_context().is_valid:
                return outer  # a step that nobody will see
            current = _unrecorded(self._parent)
        else:
            current = _State.tracer.start_span(
                self._name, context=self._parent, kind=self._kind, attributes=self._attributes, record_exception=False
            )
        self._span = current
        self._token = otel_context.attach(trace.set_span_in_context(current, self._parent))
        return current

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> Literal[False]:
        if self._span is None:
            return False
        if kind is not None and issubclass(kind, Exception):
            self._span.set_status(StatusCode.ERROR, kind.__name__)
            self._span.set_attribute("error.type", kind.__name__)
        otel_context.detach(self._token)
        self._span.end()
        return False

    def _again(self) -> Self:
        return type(self)(self._name, kind=self._kind, parent=self._parent, **self._attributes)

    def __call__[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with each call in a span of its own."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def traced_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return traced_async  # type: ignore[return-value]  # R is the coroutine, which mypy cannot see through

        @functools.wraps(function)
        def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._again():
                return function(*args, **kwargs)

        return traced


def set_attributes(**attributes: Any) -> None:
    """Add facts to the current span: numbers, ids and stable words; never content."""
    trace.get_current_span().set_attributes(attributes)


def current_trace_id() -> str | None:
    """Return the current trace id as 32 hex digits, None outside of a request, job or span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def current_span_id() -> str | None:
    """Return the current span id as 16 hex digits, None outside of a request, job or span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.span_id:016x}" if context.is_valid else None


def extract(carrier: Mapping[str, str]) -> Context | None:
    """Return the remote parent named by `traceparent` in `carrier`; None when there is none or it is malformed."""
    if "traceparent" not in carrier:
        return None
    context = _PROPAGATOR.extract(carrier)
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def inject() -> dict[str, str]:
    """Return the current trace and request id as a small dict to put into a job's arguments."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    request_id = structlog.contextvars.get_contextvars().get(_REQUEST_ID)
    if request_id:
        carrier[_REQUEST_ID] = str(request_id)
    return carrier


@contextmanager
def attach(carrier: Mapping[str, str] | None, *, name: str = "job", **attributes: Any) -> Iterator[Span]:
    """Run the block in a span that continues the trace and request id of `carrier` (made by `inject`)."""
    found = carrier or {}
    request_id = found.get(_REQUEST_ID)
    bound = {_REQUEST_ID: request_id} if request_id else {}
    with (
        structlog.contextvars.bound_contextvars(**bound),
        span(name, kind=SpanKind.CONSUMER, parent=extract(found), **attributes) as current,
    ):
        yield current


def instrument_engine(engine: "AsyncEngine") -> None:
    """Trace every statement of `engine` (its text, never its parameters). Does nothing where no traces are exported.

    Written here because the stock instrumentation refuses SQLAlchemy 2.1 (it logs an error and traces nothing).
    """
    tracer = _State.tracer
    if tracer is None:
        return
    from sqlalchemy import event

    def begin(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        operation = statement.lstrip()[:16].split(maxsplit=1)[:1]
        name = f"db {operation[0].upper()}" if operation else "db"
        attributes = {"db.system.name": "postgresql", "db.query.text": statement}
        if context is not None:
            context.echo_span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    def end(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        started = getattr(context, "echo_span", None)
        if started is not None:
            started.end()

    def fail(failure: Any) -> None:
        started = getattr(failure.execution_context, "echo_span", None)
        if started is not None:
            started.set_status(StatusCode.ERROR, type(failure.original_exception).__name__)
            started.end()

    event.listen(engine.sync_engine, "before_cursor_execute", begin)
    event.listen(engine.sync_engine, "after_cursor_execute", end)
    event.listen(engine.sync_engine, "handle_error", fail)


def instrument_http_clients() -> None:
    """Trace outgoing httpx requests and send `traceparent` along. Does nothing where no traces are exported."""
    if _State.tracer is None:
        return
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    instrumentor = HTTPXClientInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(tracer_provider=_State.provider)
