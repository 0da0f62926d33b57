from collections.abc import Iterator
from types import SimpleNamespace

import anyio
import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from ragecho.platform.telemetry import (
    attach,
    configure_tracing,
    current_trace_id,
    inject,
    instrument_engine,
    metrics,
    shutdown_tracing,
    span,
)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    configure_tracing(role="test", exporter=memory, is_batched=False)
    yield memory
    shutdown_tracing()


def test_ids_are_real_even_when_nothing_is_exported() -> None:
    shutdown_tracing()
    assert current_trace_id() is None
    with span("outer") as outer:
        trace_id = current_trace_id()
        assert trace_id is not None
        assert len(trace_id) == 32
        with span("inner"):
            assert current_trace_id() == trace_id
        assert not outer.is_recording()
        carrier = inject()
    assert current_trace_id() is None
    with attach(carrier), span("step"):
        assert current_trace_id() == trace_id


def test_spans_nest_and_carry_their_attributes(exporter: InMemorySpanExporter) -> None:
    with span("ask", k=5), span("ask.retrieve", mode="hybrid"):
        pass
    inner, outer = exporter.get_finished_spans()
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert dict(outer.attributes or {}) == {"k": 5}


def test_a_decorated_function_has_one_span_per_call(exporter: InMemorySpanExporter) -> None:
    @span("double")
    def double(n: int) -> int:
        return n * 2

    @span("double.async")
    async def double_async(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        return n * 2

    assert [double(1), double(2), anyio.run(double_async, 3)] == [2, 4, 6]
    assert [s.name for s in exporter.get_finished_spans()] == ["double", "double", "double.async"]


def test_a_failed_span_names_the_exception_and_not_its_message(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="private"), span("step"):
        raise ValueError("private words")
    (finished,) = exporter.get_finished_spans()
    assert finished.status.status_code is StatusCode.ERROR
    assert finished.status.description == "ValueError"
    assert finished.events == ()


def test_a_job_continues_the_trace_and_request_id(exporter: InMemorySpanExporter) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-9"), span("request"):
        carrier = inject()
        trace_id = current_trace_id()
    with attach(carrier, name="job.parse"):
        assert current_trace_id() == trace_id
        assert structlog.contextvars.get_contextvars()["request_id"] == "r-9"
    assert "request_id" not in structlog.contextvars.get_contextvars()


@pytest.mark.parametrize("carrier", [None, {}, {"traceparent": "garbage"}])
def test_a_job_without_a_usable_trace_starts_its_own(carrier: dict[str, str] | None) -> None:
    with attach(carrier):
        assert current_trace_id() is not None


def test_metrics_come_out_as_prometheus_text() -> None:
    metrics.observe_ingest_stage("parse", 0.2)
    metrics.observe_model_call("m", outcome="ok", seconds=1.0, input_tokens=10, output_tokens=2, cost_usd=0.5)
    metrics.count_cache_lookup("answers", is_hit=True)
    metrics.count_embedded("bge", 3)
    metrics.observe_search("total", 0.01)
    metrics.count_answer("answered")
    metrics.count_job("parse", "succeeded")
    metrics.set_jobs_now({("ingest", "todo"): 4})
    metrics.set_jobs_now({("ingest", "doing"): 1})
    text = metrics.render_metrics().decode()
    assert 'ragecho_model_tokens_total{direction="input",model="m"} 10.0' in text
    assert 'ragecho_queue_jobs{queue="ingest",status="doing"} 1.0' in text
    assert 'status="todo"' not in text


def test_each_statement_is_a_span_without_its_parameters(exporter: InMemorySpanExporter) -> None:
    # SQLite in memory: the events are SQLAlchemy's own and the same for every driver.
    engine = create_engine("sqlite://")
    instrument_engine(SimpleNamespace(sync_engine=engine))  # type: ignore[arg-type]  # the part that is used
    with span("request"), engine.connect() as connection:
        connection.execute(text("SELECT :word"), {"word": "private"})
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT * FROM nowhere"))
    engine.dispose()
    select, failed, request = exporter.get_finished_spans()
    assert select.name == "db SELECT"
    assert select.parent is not None
    assert select.parent.span_id == request.context.span_id
    assert "private" not in str(select.attributes)
    assert failed.status.status_code is StatusCode.ERROR
