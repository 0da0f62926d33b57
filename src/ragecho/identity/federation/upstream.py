"""Our side of OpenID Connect as a relying party: discovery, the way there, the code's exchange, the ID token's validation.

Authlib's core builds and reads the protocol's messages and joserfc checks signatures; every request goes through the
outbound client, since an organisation's administrator names the addresses. Nothing here touches the database.
"""

import hmac
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey, import_key

from ragecho.identity.federation.claims import identity_of, text_claim
from ragecho.identity.federation.discovery import Discovery, Metadata
from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.identity.federation.model import Registration, UpstreamIdentity
from ragecho.kernel.errors import EchoError

# Public-key signatures only: a token signed with the client's secret or with nothing is nobody's word.
ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA", "Ed25519", "ES384", "ES512", "RS384", "RS512", "PS384", "PS512")
LEEWAY_SECONDS = 60
LONGEST_TOKEN = 64 * 1024
_FAMILY_BY_ALGORITHM: Mapping[str, type[Key]] = {"E": ECKey, "R": RSAKey, "P": RSAKey}
_MIN_RSA_BITS = 2048
_LONGEST_WORD = 50
_KEY_TYPES = frozenset({"RSA", "EC", "OKP"})


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the token endpoint gave."""

    access_token: str
    id_token: str


class Upstreams:
    """Talks to upstream providers. One per process: it keeps discovery documents and keys for a while."""

    def __init__(self, client: httpx.AsyncClient, *, allow_http: bool = False) -> None:
        self._client = client
        self.discovery = Discovery(client, allow_http=allow_http)

    async def authorization_url(
        self,
        registration: Registration,
        *,
        redirect_uri: str,
        state: str,
        nonce: str,
        verifier: str,
        login_hint: str | None = None,
        prompt: str | None = None,
        max_age: int | None = None,
    ) -> str:
        """Return where the browser goes. Raises `FederationFailed` when the provider cannot be discovered."""
        metadata = await self.discovery.metadata(registration.issuer)
        extra = {
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
            "login_hint": login_hint,
            "prompt": prompt,
            "max_age": max_age,
            "hd": registration.hosted_domain,
        }
        return str(
            prepare_grant_uri(
                metadata.authorization_endpoint,
                client_id=registration.client_id,
                response_type="code",
                redirect_uri=redirect_uri,
                scope=list(registration.scopes),
                state=state,
                **{name: value for name, value in extra.items() if value is not None},
            )
        )

    async def identify(
        self,
        registration: Registration,
        *,
        code: str,
        redirect_uri: str,
        verifier: str,
        nonce_sha256: bytes,
        response_issuer: str | None,
    ) -> UpstreamIdentity:
        """Return who came back with `code`. Raises `FederationFailed`.

        `response_issuer` is the `iss` parameter of the authorization response (RFC 9207), which must be there when the
        provider says that it sends it.
        """
        metadata = await self.discovery.metadata(registration.issuer)
        check_response_issuer(metadata, response_issuer)
        tokens = await self.exchange(metadata, registration, code, redirect_uri=redirect_uri, verifier=verifier)
        claims = await self.validate_id_token(metadata, registration, tokens, nonce_sha256=nonce_sha256)
        if registration.hosted_domain and claims.get("hd") != registration.hosted_domain:
            raise FederationFailed(
                Fault.DOMAIN_NOT_ALLOWED,
                f"Only accounts of {registration.hosted_domain} may sign in here.",
            )
        if text_claim(claims, "email") is None and metadata.userinfo_endpoint:
            claims = {**await self._userinfo(metadata, tokens, subject=claims["sub"]), **claims}
        return identity_of(claims)

    async def validate_id_token(
        self, metadata: Metadata, registration: Registration, tokens: Tokens, *, nonce_sha256: bytes
    ) -> dict[str, Any]:
        """Return the claims of a valid ID token (OpenID Connect Core, 3.1.3.7). Raises `FederationFailed`."""
        token = await self.verified(metadata, tokens.id_token)
        given = token.claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(sha256(given.encode()).digest(), nonce_sha256):
            raise bad_token("its nonce is not the one that was sent")
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": registration.issuer},
                "aud": {"essential": True, "value": registration.client_id},
                "exp": {"essential": True},
                "iat": {"essential": True},
            },
            {"nonce": given, "client_id": registration.client_id, "access_token": _hashed(tokens, token.header)},
        )
        try:
            claims.validate(now=int(time.time()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise bad_token(reason_of(error)) from error
        if text_claim(claims, "sub", longest=255) is None:
            raise bad_token("its sub is missing or too long")
        return dict(claims)

    async def verified(self, metadata: Metadata, token: str, *, kinds: Collection[str] = ("JWT", "jwt")) -> jwt.Token:
        """Return a token that the provider signed, of one of these `typ`es. Raises `FederationFailed`."""
        if len(token) > LONGEST_TOKEN:
            raise bad_token("it is too long")
        allowed = [name for name in ALGORITHMS if name in metadata.id_token_algorithms]
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError, TypeError) as error:
            raise bad_token("it is not a signed token") from error
        if header.get("alg") not in allowed:
            raise bad_token("it is signed with an algorithm that is not accepted, or not at all")
        if header.get("typ", "JWT") not in kinds:
            raise bad_token("it is a token of another kind")
        for is_fresh in (False, True):
            keys = usable_keys(await self.discovery.keys(metadata, is_fresh=is_fresh), str(header["alg"]))
            try:
                return _decode(token, keys, kid=header.get("kid"), algorithm=str(header["alg"]))
            except InvalidKeyIdError:
                continue  # the provider may have rotated its keys
            except (JoseError, ValueError, TypeError) as error:
                raise bad_token(reason_of(error)) from error
        raise bad_token("its key is not among the provider's published keys")

    async def exchange(
        self, metadata: Metadata, registration: Registration, code: str, *, redirect_uri: str, verifier: str
    ) -> Tokens:
        """Return what the token endpoint gives for a code. Raises `FederationFailed`."""
        body = prepare_token_request("authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=verifier)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        method = registration.auth_method or metadata.auth_method(has_secret=registration.client_secret is not None)
        client_id, secret = registration.client_id, registration.client_secret or ""
        if method == "client_secret_basic":
            client_id, secret = quote(client_id, safe=""), quote(secret, safe="")  # RFC 6749, 2.3.1
        url, headers, body = ClientAuth(client_id, secret, method).prepare(
            "POST", metadata.token_endpoint, headers, body
        )
        answer = await self.send("POST", url, Fault.TOKEN_EXCHANGE, headers=headers, content=body)
        found = _json_object(answer, Fault.TOKEN_EXCHANGE)
        if answer.status_code != httpx.codes.OK:
            raise _refused_exchange(found, answer.status_code)
        access_token, id_token = found.get("access_token"), found.get("id_token")
        if not isinstance(access_token, str) or not isinstance(id_token, str):
            raise FederationFailed(
                Fault.TOKEN_EXCHANGE,
                "Your provider's answer was incomplete.",
                hint="The token endpoint gave no ID token; the scope 'openid' may be missing at the provider.",
            )
        return Tokens(access_token, id_token)

    async def _userinfo(self, metadata: Metadata, tokens: Tokens, *, subject: str) -> dict[str, Any]:
        assert metadata.userinfo_endpoint is not None
        answer = await self.send(
            "GET",
            metadata.userinfo_endpoint,
            Fault.USERINFO,
            headers={"Authorization": f"Bearer {tokens.access_token}", "Accept": "application/json"},
        )
        found = _json_object(answer, Fault.USERINFO)
        if answer.status_code != httpx.codes.OK or found.get("sub") != subject:
            raise FederationFailed(
                Fault.USERINFO,
                "Your provider's answer did not fit together.",
                hint="The userinfo endpoint failed, or spoke of another person (sub) than the ID token.",
            )
        return found

    async def send(self, method: str, url: str, fault: Fault, **options: Any) -> httpx.Response:
        """Return the provider's answer, whatever its status; redirects are not followed. Raises `FederationFailed`."""
        try:
            return await self._client.request(method, url, follow_redirects=False, **options)
        except (httpx.HTTPError, EchoError) as error:
            raise FederationFailed(
                Fault.UNREACHABLE,
                "Your provider does not answer now. Try again later.",
                hint=f"{fault}: {httpx.URL(url).host}: {getattr(error, 'message', None) or type(error).__name__}",
            ) from error


def check_response_issuer(metadata: Metadata, given: str | None) -> None:
    """Refuse an authorization response of another provider than the one that was asked (RFC 9207)."""
    if given is None and not metadata.sends_response_issuer:
        return
    if given != metadata.issuer:
        raise FederationFailed(
            Fault.MIX_UP,
            "The answer came from another provider than the one you were sent to. Start again.",
            hint="The response's iss is missing or is not the provider's issuer.",
        )


def usable_keys(raw: list[Mapping[str, Any]], algorithm: str) -> KeySet:
    """Return the provider's public signature keys that fit the algorithm; what is of no use to us is left out."""
    family = _FAMILY_BY_ALGORITHM.get(algorithm[0], OKPKey) if not algorithm.startswith("Ed") else OKPKey
    keys: list[Key] = []
    for item in raw:
        if item.get("kty") not in _KEY_TYPES or item.get("use", "sig") != "sig":
            continue
        try:
            key = import_key({name: value for name, value in item.items() if name not in ("key_ops", "x5c")})
        except (JoseError, ValueError, TypeError, KeyError, UserWarning):
            continue
        if isinstance(key, family) and not _is_weak(key):
            keys.append(key)
    return KeySet(keys)


def _is_weak(key: Key) -> bool:
    return isinstance(key, RSAKey) and key.public_key.key_size < _MIN_RSA_BITS


def _decode(token: str, keys: KeySet, *, kid: object, algorithm: str) -> jwt.Token:
    """Return the token when one of the keys signed it. Without a `kid` each key is tried, not one by chance."""
    if isinstance(kid, str):
        return jwt.decode(token, keys.get_by_kid(kid), algorithms=[algorithm])
    failure: Exception = InvalidKeyIdError()
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=[algorithm])
        except JoseError as error:
            failure = error
    raise failure


def _hashed(tokens: Tokens, header: Mapping[str, Any]) -> str | None:
    """Return the access token to hold against at_hash. Of `Ed25519` (RFC 9864) Authlib does not know the hash."""
    return None if header.get("alg") == "Ed25519" else tokens.access_token


def _json_object(answer: httpx.Response, fault: Fault) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise FederationFailed(
        fault,
        "Your provider's answer could not be read.",
        hint=f"{fault}: no JSON object, status {answer.status_code}.",
    )


def _refused_exchange(found: Mapping[str, Any], status: int) -> FederationFailed:
    error = found.get("error")
    word = (
        error
        if isinstance(error, str) and error.isascii() and len(error) <= _LONGEST_WORD and error.isprintable()
        else "none"
    )
    if word in ("invalid_client", "unauthorized_client"):
        return FederationFailed(
            Fault.CLIENT_REFUSED,
            "Your provider does not accept this application. Ask your administrator.",
            hint=f"The provider refused the client id or secret ({word}).",
        )
    return FederationFailed(
        Fault.TOKEN_EXCHANGE,
        "Your provider did not confirm the sign-in. Start again.",
        hint=f"The token endpoint answered {status}, error {word}.",
    )


def bad_token(reason: str) -> FederationFailed:
    """Return the refusal of a token."""
    return FederationFailed(
        Fault.ID_TOKEN,
        "Your provider's confirmation could not be verified.",
        hint=f"The ID token was refused: {reason}.",
    )


def reason_of(error: Exception) -> str:
    """Return what is wrong in words that hold nothing of the token but the name of a claim."""
    claim = getattr(error, "claim", None)
    kind = getattr(error, "error", None) or type(error).__name__
    return f"{kind} ({claim})" if isinstance(claim, str) else str(kind)
