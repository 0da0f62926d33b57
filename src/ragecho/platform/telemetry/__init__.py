"""Logs, traces and metrics of every role. Importing configures nothing; a role calls `configure_telemetry` once."""

from ragecho.platform.telemetry.logs import bind_caller, configure_logging, get_logger, uvicorn_log_options
from ragecho.platform.telemetry.setup import configure_telemetry
from ragecho.platform.telemetry.tracing import (
    attach,
    configure_tracing,
    current_span_id,
    current_trace_id,
    inject,
    instrument_engine,
    instrument_http_clients,
    set_attributes,
    shutdown_tracing,
    span,
)

__all__ = [
    "attach",
    "bind_caller",
    "configure_logging",
    "configure_telemetry",
    "configure_tracing",
    "current_span_id",
    "current_trace_id",
    "get_logger",
    "inject",
    "instrument_engine",
    "instrument_http_clients",
    "set_attributes",
    "shutdown_tracing",
    "span",
    "uvicorn_log_options",
]
