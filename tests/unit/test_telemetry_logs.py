import io
import logging
import warnings
from collections.abc import Iterator

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import bind_caller, configure_logging, get_logger, span
from ragecho.platform.telemetry.logs import forget_caller
from ragecho.platform.telemetry.redaction import format_exception, is_secret_name, redact_text


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(Settings(log_format="json", _env_file=None), role="api", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    forget_caller()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_carries_role_caller_request_and_trace(output: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"), span("work") as current:
        bind_caller("w-1", "u-1")
        get_logger("ragecho.x").info("x.done", passages=3)
    (event,) = lines(output)
    assert event["event"] == "x.done"
    assert event["level"] == "info"
    assert event["logger"] == "ragecho.x"
    assert event["role"] == "api"
    assert event["request_id"] == "r-1"
    assert (event["workspace_id"], event["user_id"], event["passages"]) == ("w-1", "u-1", 3)
    assert event["trace_id"] == f"{current.get_span_context().trace_id:032x}"
    assert str(event["timestamp"]).endswith("Z")


def test_standard_library_loggers_come_out_in_the_same_form(output: io.StringIO) -> None:
    logging.getLogger("procrastinate.worker").warning("Starting %s", "worker")
    (event,) = lines(output)
    assert event["event"] == "Starting worker"
    assert event["logger"] == "procrastinate.worker"
    assert event["level"] == "warning"


def test_uvicorn_access_lines_and_client_chatter_are_not_repeated(output: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info("GET /x?token=abc")
    logging.getLogger("httpx").info("HTTP Request: POST https://example.com")
    logging.getLogger("sqlalchemy.engine").info("[generated in 0.1s] ('secret question',)")
    assert lines(output) == []


def test_warnings_are_logged_as_events(output: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning("old thing", DeprecationWarning, "f.py", 1)
    (event,) = lines(output)
    assert event["logger"] == "py.warnings"


SECRETS = [
    "echo_a1b2c3d4_Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5",
    "rk_live0123456789abcdefghijkl",
    "sk-proj-abcdefghijklmnop1234567890",
    "eyJhbGciOiJSUzI1NiIs.eyJzdWIiOiIxMjM0NTY3ODkwIiwi.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_credential_is_hidden_whatever_field_it_stands_in(output: io.StringIO, secret: str) -> None:
    log = get_logger("x")
    name = f"event {secret}"
    log.info(name, note=f"got {secret} here", nested={"deep": [secret]}, headers=[("a", secret)])
    logging.getLogger("third").error("failed with %s", secret)
    try:
        raise RuntimeError(f"bad key {secret}")
    except RuntimeError:
        log.exception("x.failed")
    assert secret not in output.getvalue()
    assert output.getvalue().count("[redacted]") >= 6


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abc.def-ghi_123", "abc.def-ghi_123"),
        ("authorization=Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
        ("postgresql://echo:hunter2@db:5432/echo", "hunter2"),
        ("redis://:hunter2@cache", "hunter2"),
        ("host=db password=hunter2 user=echo", "hunter2"),
        ("GET /cb?access_token=hunter2hunter2&x=1", "hunter2"),
        ("X-API-Key: hunter2", "hunter2"),
    ],
)
def test_credentials_in_headers_urls_and_pairs_are_hidden(text: str, hidden: str) -> None:
    assert hidden not in redact_text(text)
    assert "[redacted]" in redact_text(text)


def test_ordinary_text_and_urls_are_left_alone() -> None:
    text = "http://127.0.0.1:8000/x?a=1 input_tokens=5 echo_test mailto:a@b.c 12:30:01 basic search of tokens"
    assert redact_text(text) == text


def test_fields_are_hidden_by_their_name(output: io.StringIO) -> None:
    get_logger("x").info("x", password="p1", nested={"client_secret": "p2", "Set-Cookie": "p3"}, input_tokens=7)
    (event,) = lines(output)
    assert event["password"] == "[redacted]"
    assert event["nested"] == {"client_secret": "[redacted]", "Set-Cookie": "[redacted]"}
    assert event["input_tokens"] == 7


def test_token_counts_are_not_secrets() -> None:
    assert not is_secret_name("max_tokens")
    assert not is_secret_name("api_key_id")
    assert is_secret_name("refresh_token")


class Body(BaseModel):
    size: int


def test_a_logged_exception_does_not_quote_content(output: io.StringIO) -> None:
    content = " ".join(["private", "question"])
    try:
        try:
            Body.model_validate({"size": content})
        except ValueError as error:
            raise RuntimeError("could not read") from error
    except RuntimeError:
        get_logger("x").exception("x.failed")
    (event,) = lines(output)
    assert content not in str(event)
    assert "size: int_parsing" in str(event["exception"])
    assert "could not read" in str(event["exception"])


def test_an_exception_group_shows_each_member() -> None:
    text = format_exception(ExceptionGroup("two", [ValueError("first"), KeyError("second")]))
    assert "first" in text
    assert "second" in text


@given(st.text(max_size=300))
def test_redaction_never_fails_and_is_stable(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


def test_a_closed_stream_does_not_fail_the_caller(output: io.StringIO) -> None:
    output.close()
    get_logger("x").info("x.lost")
