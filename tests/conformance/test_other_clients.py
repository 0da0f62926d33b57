"""The clients that people really use sign in: in a browser, in Python, and bare in JavaScript."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet
from playwright.sync_api import Page, expect
from tests.conformance.conftest import Outcome, run_node
from tests.conformance.node import Node
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import REDIRECT_URI, Browser, Person, register
from tests.e2e.test_browser import browser as chromium  # noqa: F401 - a fixture, used by its name

HERE = Path(__file__).parent
TYPES = {".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".json": "application/json"}


class _Files(BaseHTTPRequestHandler):
    """Serves the application's few files."""

    def __init__(self, files: dict[str, bytes], *args: object) -> None:
        self._files = files
        super().__init__(*args)  # type: ignore[arg-type]  # request, address and server, as the server gives them

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        found = self._files.get("/page.html" if path == "/" else path)
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Type", TYPES.get(Path(path).suffix, "text/html"))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def static_server(files: dict[str, bytes]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, files)) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join(10)


def test_oidc_client_ts_signs_in_renews_and_signs_out_in_chromium(
    node: Node,  # installs the packages
    provider: Server,
    people: list[Person],
    chromium: object,  # noqa: F811 - the fixture imported above
) -> None:
    library = HERE / "node_modules/oidc-client-ts/dist/esm/oidc-client-ts.js"
    jwt_decode = HERE / "node_modules/jwt-decode/build/esm/index.js"
    files = {
        "/page.html": (HERE / "others/page.html").read_bytes(),
        "/page.mjs": (HERE / "others/page.mjs").read_bytes(),
        "/oidc-client-ts.js": library.read_bytes(),
        "/jwt-decode.js": jwt_decode.read_bytes(),
    }
    who = people[0]
    with static_server(files) as application:
        party = register(
            provider,
            client_name="A browser application",
            application_type="native",  # the OIDC registration rule for redirect URIs on loopback http
            redirect_uris=[f"{application}/"],
            post_logout_redirect_uris=[f"{application}/?signed-out"],
            token_endpoint_auth_method="none",
        )
        files["/settings.json"] = json.dumps({"authority": party.issuer, "client_id": party.id}).encode()
        page: Page = chromium.new_context().new_page()  # type: ignore[attr-defined]  # a playwright Browser
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        state = page.locator("#state")

        page.goto(application)
        expect(state).to_have_text('{"signedOut":true}')
        page.click("#sign-in")
        page.get_by_label("E-mail", exact=False).fill(who.email)
        page.locator("input[type=password]").fill(who.password)
        page.locator("button.primary[type=submit]").click()
        page.locator("button[value=allow]").click()
        expect(state).to_contain_text(who.email, timeout=15_000)
        first = json.loads(state.inner_text())

        page.click("#renew")
        expect(state).not_to_contain_text(first["access"], timeout=15_000)
        renewed = json.loads(state.inner_text())
        assert renewed["sub"] == first["sub"]
        assert party.userinfo(renewed["access"]).json()["email"] == who.email

        page.click("#sign-out")
        expect(state).to_have_text('{"signedOut":true}', timeout=15_000)
        assert complaints == []
        page.context.close()


def test_authlibs_httpx_client_signs_in_refreshes_and_revokes(provider: Server, people: list[Person]) -> None:
    who = people[1]
    party = register(provider)
    metadata = httpx.get(f"{party.issuer}/.well-known/openid-configuration", timeout=60).json()
    with OAuth2Client(
        *party.auth,
        scope="openid email offline_access",
        redirect_uri=REDIRECT_URI,
        code_challenge_method="S256",
        token_endpoint_auth_method="client_secret_basic",
    ) as client:
        verifier = "v" * 48
        url, state = client.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=verifier, nonce="n-1", prompt="consent"
        )
        person = Browser(provider)
        person.answer(person.visit(url), who)
        assert person.left is not None
        token = client.fetch_token(
            metadata["token_endpoint"], authorization_response=person.left, code_verifier=verifier, state=state
        )
        keys = KeySet.import_key_set(httpx.get(metadata["jwks_uri"], timeout=60).json())
        decoded = jwt.decode(token["id_token"], keys, algorithms=metadata["id_token_signing_alg_values_supported"])
        assert decoded.claims["nonce"] == "n-1"
        assert decoded.claims["aud"] == party.id
        assert client.get(metadata["userinfo_endpoint"]).json() == {
            "sub": str(who.id),
            "email": who.email,
            "email_verified": True,
        }
        renewed = client.refresh_token(metadata["token_endpoint"])
        assert renewed["access_token"] != token["access_token"]
        client.revoke_token(metadata["revocation_endpoint"], token=renewed["refresh_token"])
        assert party.userinfo(renewed["access_token"]).status_code == 401
        person.close()


def test_oauth4webapi_signs_in_refreshes_introspects_and_revokes(
    node: Node, provider: Server, people: list[Person]
) -> None:
    done = run_node(node, provider, people, "others/oauth4webapi.test.mjs")
    assert done == {"oauth4webapi": Outcome("passed", "")}, done["oauth4webapi"].error


def test_openid_client_signs_in_with_a_key_instead_of_a_secret(
    node: Node, provider: Server, people: list[Person]
) -> None:
    done = run_node(node, provider, people, "others/private_key_jwt.test.mjs")
    assert done == {"private_key_jwt": Outcome("passed", "")}, done["private_key_jwt"].error


@pytest.mark.parametrize("package", ["openid-client", "oauth4webapi", "oidc-client-ts"])
def test_the_clients_are_the_released_packages_that_the_lock_names(package: str, node: Node) -> None:
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"][f"node_modules/{package}"]
    installed = json.loads((HERE / "node_modules" / package / "package.json").read_text())
    assert installed["version"] == locked["version"]
    assert "resolved" not in locked
