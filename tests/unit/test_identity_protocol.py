"""What the protocol decides without a database."""

import base64
import hmac
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from authlib.oauth2 import OAuth2Error
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from ragecho.cli.env_file import update_env_file
from ragecho.identity import clients
from ragecho.identity.client_model import Client, ClientKind, digest_of
from ragecho.identity.protocol.requests import HttpInput, parse_parameters, read_form
from ragecho.identity.settings import DynamicRegistration, IdentitySettings, base_url_of
from ragecho.identity.vault import Vault, VaultError, open_vault
from ragecho.identity.verifier import scopes_of
from ragecho.identity.verify import InvalidToken, access_token_claims
from ragecho.kernel.authorization import RULES, Permission, Scope
from ragecho.kernel.errors import ConfigurationError, InvalidInput
from ragecho.platform.settings import Environment, Settings

FORM = "application/x-www-form-urlencoded"
ISSUER, AUDIENCE = "https://echo.example/identity", "https://echo.example/api"


def client(*redirect_uris: str, kind: str = "web") -> Client:
    now = datetime.now(UTC)
    return Client(
        id="c",
        name="C",
        kind=ClientKind.MANAGED,
        auth_method="client_secret_basic",
        application_type=kind,
        redirect_uris=redirect_uris,
        post_logout_redirect_uris=(),
        grant_types=("authorization_code",),
        scopes=("openid", "read"),
        audiences=(),
        require_pkce=True,
        id_token_alg="ES256",
        backchannel_logout_uri=None,
        metadata={},
        organization_id=None,
        workspace_id=None,
        service_account_id=None,
        created_at=now,
        updated_at=now,
        disabled_at=None,
        secret_sha256=digest_of("right"),
        registration_sha256=None,
    )


# Redirect URIs


@pytest.mark.parametrize(
    "asked",
    [
        "https://rp.example/cb/",
        "https://rp.example/cb?x=1",
        "https://rp.example/CB",
        "https://RP.example/cb",
        "https://rp.example:443/cb",
        "http://rp.example/cb",
        "https://rp.example/cb#x",
        "https://rp.example/cb%2f",
        "https://rp.example/x/../cb",
        "https://rp.example@evil.example/cb",
        "",
    ],
)
def test_a_redirect_uri_matches_character_for_character(asked: str) -> None:
    assert not client("https://rp.example/cb").check_redirect_uri(asked)
    assert client("https://rp.example/cb").check_redirect_uri("https://rp.example/cb")


def test_only_a_native_application_on_loopback_may_choose_its_port() -> None:
    native = client("http://127.0.0.1/cb", "http://[::1]:1/cb", kind="native")
    assert native.check_redirect_uri("http://127.0.0.1:51004/cb")
    assert native.check_redirect_uri("http://[::1]:51004/cb")
    assert not client("http://127.0.0.1/cb").check_redirect_uri("http://127.0.0.1:51004/cb")
    for other in (
        "http://127.0.0.1:51004/other",
        "http://127.0.0.2:51004/cb",
        "http://localhost:51004/cb",
        "https://127.0.0.1:51004/cb",
        "http://127.0.0.1:51004@evil.example/cb",
        "http://127.0.0.1:x/cb",
        "http://127.0.0.1.evil.example/cb",
    ):
        assert not native.check_redirect_uri(other), other


@pytest.mark.parametrize(
    "uri",
    [
        "http://rp.example/cb",
        "https://rp.example/cb#fragment",
        "https://*.rp.example/cb",
        "https://user@rp.example/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp:/cb",
        "com.example.app:/cb",
        "//rp.example/cb",
        "/cb",
        "https://",
        'https://rp.example/"',
        "https://rp.example/ü",
        "https://rp.example/a b",
        "https://[::1/cb",
        "https://rp.example:x/cb",
        "https://rp.example;sandbox/cb",
        "https://rp.example'/cb",
        "https://rp.example,x/cb",
    ],
)
def test_unsafe_redirect_uris_are_not_registered(uri: str) -> None:
    with pytest.raises(InvalidInput):
        clients.check_redirect_uris([uri], is_native=False)


def test_a_native_application_may_have_a_reversed_domain_as_scheme() -> None:
    clients.check_redirect_uris(["com.example.app:/cb", "http://127.0.0.1/cb"], is_native=True)
    with pytest.raises(InvalidInput):
        clients.check_redirect_uris(["myapp:/cb"], is_native=True)


def test_a_secret_is_compared_and_not_shown() -> None:
    assert client().check_client_secret("right")
    assert not client().check_client_secret("wrong")
    assert "secret_sha256" not in repr(client())


# Input


@pytest.mark.parametrize(
    "raw",
    [
        b"a=1&a=2",
        b"client_id=%00",
        b"client_id=%ff",
        b"client_id=a%0ab",
        b"state=" + b"x" * 20_000,
        b"&".join(b"p%d=1" % number for number in range(200)),
        b"x=1&" * 20_000,
        b"redirect_uri=https://rp.example/%22",
        b"response_type=code%5c",
        "client_id=ü".encode(),
    ],
)
def test_input_that_nothing_behind_could_handle_is_refused(raw: bytes) -> None:
    with pytest.raises(OAuth2Error):
        parse_parameters(raw)


def test_a_parameter_without_a_value_counts_as_absent() -> None:
    assert parse_parameters(b"a=&b=2&c") == {"b": "2"}


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_fail_in_another_way(raw: bytes) -> None:
    try:
        found = parse_parameters(raw)
    except OAuth2Error:
        return
    assert all("\x00" not in value for value in found.values())


@given(st.text(max_size=100))
def test_no_authorization_header_makes_the_reader_fail_in_another_way(header: str) -> None:
    encoded = base64.b64encode(header.encode("utf-8", "surrogatepass")).decode()
    for authorization in (header, f"Basic {header}", f"Basic {encoded}"):
        with suppress(OAuth2Error):
            read_form(HttpInput("POST", "/token", body=b"a=1", content_type=FORM, authorization=authorization))


def test_two_ways_of_authenticating_at_once_are_refused() -> None:
    credentials = base64.b64encode(b"id:secret").decode()
    with pytest.raises(OAuth2Error, match="one way"):
        read_form(
            HttpInput(
                "POST", "/token", body=b"client_secret=x", content_type=FORM, authorization=f"Basic {credentials}"
            )
        )


def test_a_form_is_a_form() -> None:
    with pytest.raises(OAuth2Error):
        read_form(HttpInput("POST", "/token", body=b"{}", content_type="application/json"))


# Access tokens

KEY = ECKey.generate_key("P-256", {"kid": "k", "alg": "ES256", "use": "sig"})
KEYS = KeySet([KEY])


def token(header: dict[str, object] | None = None, key: object = KEY, **changes: object) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "s", "client_id": "c", "jti": "j", "iat": now, "exp": now + 60}
    chosen = {"alg": "ES256", "kid": "k", "typ": "at+jwt", **(header or {})}
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(chosen, kept, key, [str(chosen["alg"])])  # type: ignore[arg-type]  # wrong keys are the point


def signed_with_the_public_key() -> str:
    """Return a token whose HMAC key is what everybody may read; no library lets one make it."""
    _, claims, _ = token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k","typ":"at+jwt"}').rstrip(b"=").decode()
    made = hmac.digest(KEY.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    return f"{head}.{claims}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def test_a_proper_access_token_counts() -> None:
    assert access_token_claims(token(), KEYS, issuer=ISSUER, audience=AUDIENCE)["sub"] == "s"
    both = token(aud=["https://other.example", AUDIENCE], header={"typ": "application/at+jwt"})
    assert access_token_claims(both, KEYS, issuer=ISSUER, audience=AUDIENCE)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: token({"typ": "JWT"}),
        lambda: token({"kid": "other"}),
        lambda: token({"jku": "https://evil.example/keys"}),
        lambda: token({"jwk": KEY.as_dict(private=False)}),
        lambda: token(iss="https://evil.example"),
        lambda: token(aud="https://other.example"),
        lambda: token(aud=None),
        lambda: token(exp=int(time.time()) - 60),
        lambda: token(exp=None),
        lambda: token(exp="9999999999"),
        lambda: token(exp=True),
        lambda: token(iat=int(time.time()) + 600),
        lambda: token(nbf=int(time.time()) + 600),
        lambda: token(iat=None),
        lambda: token(jti=None),
        lambda: token(sub=None),
        lambda: token(sub=7),
        lambda: token(key=ECKey.generate_key("P-256")),
        signed_with_the_public_key,
        lambda: token()[:-4] + "AAAA",
        lambda: base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode() + ".e30.",
        lambda: "",
        lambda: "a.b.c",
        lambda: "é.é.é",
    ],
)
def test_any_other_token_does_not(wrong: object) -> None:
    with pytest.raises(InvalidToken):
        access_token_claims(wrong(), KEYS, issuer=ISSUER, audience=AUDIENCE)  # type: ignore[operator]  # a lambda


def test_broad_scopes_stand_for_all_their_acts() -> None:
    assert scopes_of("openid read write") == (frozenset({Scope.READ, Scope.WRITE}), None)
    assert scopes_of("read documents:read") == (frozenset({Scope.READ}), None)
    assert scopes_of("openid profile") == (frozenset(), None)


def test_a_permission_as_scope_stands_for_that_act_alone() -> None:
    scopes, only = scopes_of("documents:write")
    assert scopes == {Scope.WRITE}
    assert only == frozenset({Permission.DOCUMENTS_WRITE})


def test_a_permission_beside_a_broad_scope_adds_just_itself() -> None:
    scopes, only = scopes_of("read documents:write")
    assert scopes == {Scope.READ, Scope.WRITE}
    assert only is not None
    assert {known for known in only if RULES[known].scope is Scope.WRITE} == {Permission.DOCUMENTS_WRITE}
    assert {known for known in Permission if RULES[known].scope is Scope.READ} < only


# The vault


def test_what_was_sealed_opens_for_its_purpose_only() -> None:
    vault = Vault(b"m" * 32)
    sealed = vault.encrypt("secret", purpose="totp")
    assert "secret" not in sealed
    assert vault.decrypt(sealed, purpose="totp") == b"secret"
    for other, purpose in ((vault, "signing-key"), (Vault(b"n" * 32), "totp")):
        with pytest.raises(VaultError):
            other.decrypt(sealed, purpose=purpose)
    with pytest.raises(VaultError):
        vault.decrypt("no jwe", purpose="totp")


def test_the_master_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings, identity = Settings(data_dir=tmp_path / "data"), IdentitySettings()
    sealed = open_vault(settings, identity).encrypt("x", purpose="p")
    assert open_vault(settings, identity).decrypt(sealed, purpose="p") == b"x"
    assert stat.S_IMODE((tmp_path / "data" / "identity.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["identity.key"]


def test_a_short_master_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="RAGECHO_IDENTITY_SECRET"):
        open_vault(Settings(data_dir=tmp_path), IdentitySettings(secret="short"))


# Settings


def test_clients_register_themselves_in_development_only_unless_told() -> None:
    production = Settings(environment=Environment.PRODUCTION)
    assert IdentitySettings().allows_registration(Settings())
    assert not IdentitySettings().allows_registration(production)
    assert IdentitySettings(dynamic_registration=DynamicRegistration.ON).allows_registration(production)


@pytest.mark.parametrize(
    ("host", "public_url", "base"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8000"),
        ("0.0.0.0", None, "http://127.0.0.1:8000"),
        ("::1", None, "http://[::1]:8000"),
        ("127.0.0.1", "https://echo.example/", "https://echo.example"),
    ],
)
def test_the_address_is_what_people_type(host: str, public_url: str | None, base: str) -> None:
    assert base_url_of(Settings(host=host, public_url=public_url)) == base


# Configuration files


def test_an_env_file_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nOTHER='a b'\nexport ECHO_CLIENT_ID=old\n\nLAST=1")
    path.chmod(0o644)
    update_env_file(path, {"ECHO_CLIENT_ID": "new", "ECHO_CLIENT_SECRET": "s", "WITH_SPACE": "a b"})
    assert path.read_text().splitlines() == [
        "# mine",
        "OTHER='a b'",
        "ECHO_CLIENT_ID=new",
        "",
        "LAST=1",
        "ECHO_CLIENT_SECRET=s",
        "WITH_SPACE='a b'",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == [".env"]
