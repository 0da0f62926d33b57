"""Structured logs: one line per event on standard error, JSON where a machine reads and coloured where a person does.

Standard output stays free for what a command prints. The standard library's loggers (uvicorn, procrastinate,
SQLAlchemy, alembic) go through the same processors.
"""

import logging
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from ragecho.platform.settings import Settings
from ragecho.platform.telemetry.redaction import HIDDEN, format_exception, is_secret_name, redact_fields, redact_text

_CALLER_FIELDS = ("workspace_id", "user_id")
# Third parties that narrate every call, or quote SQL with its parameters.
# Authlib logs whole tokens at debug.
_QUIET_LOGGERS = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "openai", "sqlalchemy", "uvicorn.access", "hpack", "PIL"),
    "authlib",
)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger; use `__name__`. Log an event's name and its facts, never content: `log.info("x.done", n=3)`."""
    logger: FilteringBoundLogger = structlog.get_logger(logger_name=name)
    return logger


def bind_caller(workspace_id: object | None, user_id: object | None = None) -> None:
    """Put the caller on every further log line of this request or job."""
    values = {"workspace_id": workspace_id, "user_id": user_id}
    structlog.contextvars.bind_contextvars(**{name: str(value) for name, value in values.items() if value is not None})


def forget_caller() -> None:
    """Take the caller off again: a server that reuses a task must not carry it into the next request."""
    structlog.contextvars.unbind_contextvars(*_CALLER_FIELDS)


def uvicorn_log_options() -> dict[str, Any]:
    """Return the keywords for `uvicorn.Config` with which it logs through Echo: its access log is replaced by ours."""
    return {"log_config": None, "access_log": False}


def configure_logging(settings: Settings, *, role: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (standard error by default) in the form the settings ask for."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    out = _Output(stream)
    is_console = settings.log_format == "console" or (settings.log_format == "auto" and out.is_terminal())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _RoleAndTrace(role),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _render_exception,
        _redact_named,
    ]
    render = _render_console if is_console else _render_json
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: out,
        cache_logger_on_first_use=False,
    )
    _route_standard_library(out, shared, render, level)


def _route_standard_library(out: "_Output", shared: list[Processor], render: Processor, level: int) -> None:
    handler = _StandardHandler(out, shared, render)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "procrastinate", "alembic", "sqlalchemy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


class _Output:
    """Writes finished lines. The stream is looked up at each write, so that a replaced `sys.stderr` counts."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def is_terminal(self) -> bool:
        stream = self._stream or sys.stderr
        return bool(stream and stream.isatty())

    def msg(self, line: str) -> None:
        stream = self._stream or sys.stderr
        if stream is None:  # a windowless process has no standard error
            return
        try:
            stream.write(redact_text(line) + "\n")
            stream.flush()
        except (OSError, ValueError):
            # A closed pipe or full disk must not fail the request that wanted to log.
            return

    log = debug = info = warning = warn = error = critical = exception = fatal = msg


class _RoleAndTrace:
    """Adds the role, and the ids of the current span."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        name = event.pop("logger_name", None)
        if name:  # `logger` itself is taken by structlog's own parameter
            event["logger"] = name
        event["role"] = self._role
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = f"{context.trace_id:032x}"
            event["span_id"] = f"{context.span_id:016x}"
        return event


def _render_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if not info:
        return event
    error: BaseException | None = None
    if isinstance(info, BaseException):
        error = info
    elif isinstance(info, tuple):
        error = _from_tuple(info)
    else:
        error = sys.exc_info()[1]
    if error is not None:
        event["exception"] = format_exception(error)
    return event


def _from_tuple(
    info: tuple[type[BaseException] | None, BaseException | None, TracebackType | None],
) -> BaseException | None:
    return info[1]


def _redact_named(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if is_secret_name(name):
            event[name] = HIDDEN
        elif isinstance(value, (dict, list, tuple)):
            event[name] = redact_fields(value)
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _render_console(logger: WrappedLogger, method: str, event: EventDict) -> str:
    rendered = _CONSOLE(logger, method, event)
    return rendered if isinstance(rendered, str) else str(rendered)


_CONSOLE = structlog.dev.ConsoleRenderer(pad_event_to=28)


class _StandardHandler(logging.Handler):
    """Turns a `logging` record into the same event and writes it through the same processors."""

    def __init__(self, out: _Output, shared: list[Processor], render: Processor) -> None:
        super().__init__()
        self._out = out
        self._steps = [*shared, render]

    def emit(self, record: logging.LogRecord) -> None:
        method = record.levelname.lower()
        event: MutableMapping[str, Any] = {
            "event": record.getMessage(),
            "logger": record.name,
            "exc_info": record.exc_info,
        }
        try:
            rendered: Any = event
            for step in self._steps:
                rendered = step(None, method, rendered)
            self._out.msg(rendered)
        except Exception:  # noqa: BLE001 - logging's own contract: a handler reports its failure and never raises
            self.handleError(record)
