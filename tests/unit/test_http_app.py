import io
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import anyio
import httpx
import orjson
import pytest
import structlog
from fastapi import APIRouter, FastAPI, Form, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message

from ragecho.kernel.errors import (
    Conflict,
    EchoError,
    Forbidden,
    GenerationFailed,
    InvalidInput,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from ragecho.platform.http import CleanText, HttpSettings, Page, PageParams, create_app
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_logging, current_trace_id

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class WorkspaceArchived(Conflict):
    code = "workspace_archived"


ERRORS: dict[str, EchoError] = {
    "not_found": NotFound("There is no such document."),
    "forbidden": Forbidden("no", needed_scope="write"),
    "unauthenticated": Unauthenticated("no"),
    "invalid_input": InvalidInput("no"),
    "workspace_archived": WorkspaceArchived("archived"),
    "too_large": TooLarge("no", max_bytes=5),
    "rate_limited": RateLimited("slow down", retry_after_seconds=1.2),
    "unavailable": Unavailable("no"),
    "generation_failed": GenerationFailed("no"),
    "internal_error": EchoError("private detail"),
}


class Item(BaseModel):
    name: str
    size: int = 0


router = APIRouter(prefix="/api")
nested = APIRouter(prefix="/v1")


@nested.get("/items/{item_id}")
async def get_item(item_id: int) -> Item:
    return Item(name=f"item {item_id}")


@nested.post("/items")
async def make_item(item: Item) -> Item:
    return item


@nested.post("/form")
async def read_form(name: Annotated[str, Form()]) -> dict[str, str]:
    return {"name": name}


@nested.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    return {"bytes": sum([len(chunk) async for chunk in request.stream()])}


@nested.get("/list")
async def list_items(paging: PageParams, q: Annotated[CleanText, Query()] = "") -> Page[Item]:
    return Page.of([Item(name="a")], total=9, paging=paging)


@nested.get("/fail/{code}")
async def fail(code: str) -> None:
    raise ERRORS[code]


@nested.get("/crash")
async def crash() -> None:
    raise RuntimeError("private words of a document")


@nested.get("/trace")
async def trace() -> dict[str, str | None]:
    return {"trace_id": current_trace_id()}


@nested.get("/broken-stream")
async def broken_stream() -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        raise RuntimeError("lost")

    return StreamingResponse(body())


router.include_router(nested)


def make_app(**options: object) -> FastAPI:
    settings = Settings(_env_file=None)
    return create_app(title="Echo", version="1", routers=[router], settings=settings, **options)  # type: ignore[arg-type]  # test shorthand


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://echo.test")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(http=HttpSettings(max_body_bytes=8192), body_limits={"/api/v1/upload": 4096})) as it:
        yield it


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


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("not_found", 404),
        ("forbidden", 403),
        ("unauthenticated", 401),
        ("invalid_input", 422),
        ("workspace_archived", 409),
        ("too_large", 413),
        ("rate_limited", 429),
        ("unavailable", 503),
        ("generation_failed", 502),
        ("internal_error", 500),
    ],
)
async def test_each_error_has_its_status_and_keeps_its_code(client: httpx.AsyncClient, code: str, status: int) -> None:
    answer = await client.get(f"/api/v1/fail/{code}", headers={"X-Request-ID": "abc-1"})
    body = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (body["code"], body["status"], body["request_id"]) == (code, status, "abc-1")
    assert body["type"].endswith(code)
    assert body["instance"] == f"/api/v1/fail/{code}"
    assert "private" not in answer.text


async def test_facts_become_members_and_headers(client: httpx.AsyncClient) -> None:
    limited = await client.get("/api/v1/fail/rate_limited")
    assert limited.headers["retry-after"] == "2"
    assert limited.json()["retry_after_seconds"] == 1.2
    assert (await client.get("/api/v1/fail/forbidden")).json()["needed_scope"] == "write"
    assert (await client.get("/api/v1/fail/unauthenticated")).headers["www-authenticate"] == "Bearer"


async def test_a_crash_says_nothing_outside_and_everything_in_the_log(
    client: httpx.AsyncClient, output: io.StringIO
) -> None:
    answer = await client.get("/api/v1/crash")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "private" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    events = [orjson.loads(line) for line in output.getvalue().splitlines()]
    failed = next(e for e in events if e["event"] == "http.failed")
    assert "in crash" in failed["exception"]
    assert failed["request_id"] == answer.headers["x-request-id"]


async def call_raw(app: FastAPI, path: str) -> list[Message]:
    """Call the application without a client library, which would insist on a complete answer."""
    sent: list[Message] = []
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            await anyio.sleep_forever()
        is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"asgi": {"version": "3.0"}, "headers": [], "scheme": "http", "server": ("t", 80), "root_path": ""}
    await app(scope, receive, send)
    return sent


async def test_a_stream_that_breaks_off_is_logged_as_incomplete(output: io.StringIO) -> None:
    sent = await call_raw(make_app(), "/api/v1/broken-stream")
    assert [m.get("body") for m in sent if m["type"] == "http.response.body"] == [b"begin"]
    events = [orjson.loads(line) for line in output.getvalue().splitlines()]
    assert [e["event"] for e in events] == ["http.failed", "http.request"]
    assert events[1]["is_complete"] is False


async def test_the_access_line_has_the_template_and_no_path(client: httpx.AsyncClient, output: io.StringIO) -> None:
    await client.get("/api/v1/items/7?q=private")
    (event,) = [orjson.loads(line) for line in output.getvalue().splitlines()]
    assert event["event"] == "http.request"
    assert (event["method"], event["route"], event["status"]) == ("GET", "/api/v1/items/{item_id}", 200)
    assert event["bytes"] > 0
    assert event["duration_ms"] >= 0
    assert "private" not in output.getvalue()


async def test_routes_of_a_mounted_application_are_named_with_their_mount(output: io.StringIO) -> None:
    outer = make_app()
    inner = FastAPI()
    inner.include_router(router)
    outer.mount("/sub", inner)
    async with client_of(outer) as client:
        await client.get("/sub/api/v1/items/7")
        await client.get("/nowhere/at/all")
    routes = [orjson.loads(line)["route"] for line in output.getvalue().splitlines()]
    assert routes == ["/sub/api/v1/items/{item_id}", "unmatched"]


@pytest.mark.parametrize("given", ["", "has space", "x" * 129, "ünicode", "a\tb", '"><script>'])
async def test_a_strange_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health", headers={"X-Request-ID": given.encode("latin-1")})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 36


async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health", headers={"X-Request-ID": "A.b_c-9"})).headers["x-request-id"] == "A.b_c-9"


async def test_traceparent_is_continued(client: httpx.AsyncClient) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await client.get("/api/v1/trace", headers={"traceparent": parent})
    assert answer.json()["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    fresh = (await client.get("/api/v1/trace", headers={"traceparent": "nonsense"})).json()["trace_id"]
    assert len(fresh) == 32


async def test_validation_errors_list_places_and_do_not_echo(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/items", json={"name": ["private-words"], "size": "private-words"})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "validation_error")
    assert [e["loc"] for e in body["errors"]] == [["body", "name"], ["body", "size"]]
    assert "private-words" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("DELETE", "/health", 405, "method_not_allowed")],
)
async def test_starlettes_own_errors_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/a%00b", "/health?x=%00", "/%ff", "/health?q=%c3%28", "/health?%ed%a0%80=1"])
async def test_an_unstorable_address_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "body",
    [
        rb'{"name": "a\u0000b"}',
        rb'{"name": "a\\\u0000"}',
        b'{"name": "a\x00b"}',
        rb'{"name": "\ud800"}',
        rb'{"name": "\udc00\ud800"}',
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',
        '{"name": "a"}'.encode("utf-16"),
        b"{",
        b"[" * 2000,
        b"",
        b'{"name": "a", "size": ' + b"9" * 5000 + b"}",
        b'{"name": "a", "size": NaN}',
    ],
)
async def test_a_malformed_or_unstorable_json_body_is_a_client_error(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/v1/items", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [rb'{"name": "a\\u0000b"}', rb'{"name": "\ud83d\ude00"}', '{"name": "é"}'.encode()])
async def test_storable_json_passes(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/v1/items", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["name"] == orjson.loads(body)["name"]


@pytest.mark.parametrize("body", [b"name=a%00b", b"name=%ff", b"name=a\x00"])
async def test_an_unstorable_form_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post("/api/v1/form", content=body, headers=kind)).status_code == 422
    assert (await client.post("/api/v1/form", content=b"name=%C3%A9+x", headers=kind)).json() == {"name": "é x"}


async def chunks(size: int, number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * size


async def test_a_body_over_the_limit_is_refused_declared_or_streamed(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.post("/api/v1/items", json={"name": "x" * 9000}),
        await client.post("/api/v1/items", content=chunks(1000, 9), headers={"Content-Type": "application/json"}),
        await client.post("/api/v1/upload", content=b"x" * 4097),
        await client.post("/api/v1/upload", content=chunks(1000, 5)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert "RAGECHO_HTTP_MAX_" in answer.json()["detail"]
        assert answer.headers["x-request-id"]
    assert (await client.post("/api/v1/upload", content=chunks(1024, 4))).json() == {"bytes": 4096}


@pytest.mark.parametrize("length", ["-1", "abc", "9" * 400, "1e3"])
async def test_a_strange_content_length_is_refused(client: httpx.AsyncClient, length: str) -> None:
    answer = await client.post("/api/v1/upload", content=b"x", headers={"Content-Length": length})
    assert answer.status_code == 413


async def test_more_requests_than_allowed_get_503_with_retry_after() -> None:
    entered, release = anyio.Event(), anyio.Event()
    slow = APIRouter()

    @slow.get("/slow")
    async def wait() -> str:
        entered.set()
        await release.wait()
        return "done"

    settings = Settings(_env_file=None)
    app = create_app(title="x", version="1", routers=[slow], settings=settings, http=HttpSettings(max_concurrency=1))
    results: list[httpx.Response] = []
    async with client_of(app) as client, anyio.create_task_group() as group:

        async def first() -> None:
            results.append(await client.get("/slow"))

        group.start_soon(first)
        await entered.wait()
        refused = await client.get("/slow")
        healthy = await client.get("/health")
        release.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert healthy.status_code == 200
    assert results[0].status_code == 200
    async with client_of(app) as client:
        assert (await client.get("/slow")).status_code == 200


async def test_answers_carry_careful_headers(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/api/v1/items/1")).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers


async def test_https_installations_send_hsts() -> None:
    settings = Settings(public_url="https://echo.example", _env_file=None)
    async with client_of(create_app(title="x", version="1", settings=settings)) as client:
        assert "strict-transport-security" in (await client.get("/health")).headers


async def test_the_docs_page_loads_only_our_own_files(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "docs.js", "favicon-32x32.png"):
        assert f"/docs/static/{name}" in page.text or name == "docs.js"
        assert (await client.get(f"/docs/static/{name}")).status_code == 200
    assert (await client.get("/docs/static/README.md")).status_code == 404
    assert (await client.get("/docs/static/..%2Fdocs.py")).status_code == 404


async def test_the_description_declares_problems_on_every_operation(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            if "422" in operation["responses"]:
                assert "application/problem+json" in operation["responses"]["422"]["content"]
    assert "/docs" not in document["paths"]
    assert "FieldError" in document["components"]["schemas"]


async def test_pages_have_limits(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/list?limit=10&offset=5")).json()
    assert answer == {"items": [{"name": "a", "size": 0}], "total": 9, "limit": 10, "offset": 5}
    for query in ("limit=0", "limit=201", "offset=-1", f"offset={2**63}", "limit=x"):
        assert (await client.get(f"/api/v1/list?{query}")).status_code == 422


async def test_readiness_names_what_fails_and_hides_why() -> None:
    async def fine() -> str:
        return "18.6"

    async def broken() -> None:
        raise OSError("host db.internal user echo")

    async def told() -> None:
        raise Unavailable("The model is not loaded yet.")

    async def stuck() -> None:
        await anyio.sleep_forever()

    checks = {"database": fine, "blobs": broken, "model": told, "queue": stuck}
    async with client_of(make_app(checks=checks, http=HttpSettings(check_timeout_seconds=0.05))) as client:
        answer = await client.get("/health/ready")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (503, "unavailable")
    assert {name: c["status"] for name, c in body["checks"].items()} == {
        "database": "ok",
        "blobs": "failed",
        "model": "failed",
        "queue": "timeout",
    }
    assert body["checks"]["database"]["detail"] == "18.6"
    assert body["checks"]["blobs"]["detail"] == "OSError"
    async with client_of(make_app(checks={"database": fine})) as client:
        assert (await client.get("/health/ready")).status_code == 200


async def test_metrics_count_by_template_and_survive_a_failing_refresh() -> None:
    async def refresh() -> None:
        raise OSError("no database")

    async with client_of(make_app(refresh_metrics=[refresh])) as client:
        await client.get("/api/v1/items/123456")
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'http_requests_total{method="GET",route="/api/v1/items/{item_id}",status="200"}' in answer.text
    assert "123456" not in answer.text
