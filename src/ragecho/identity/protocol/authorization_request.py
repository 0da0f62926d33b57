"""Authorization requests: what Authlib's core checks, and what it lacks (max_age, request objects, response modes)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError, UnsupportedResponseTypeError

from ragecho.identity.client_model import Client
from ragecho.identity.protocol.acr import WantedAcr, wanted_acr
from ragecho.identity.protocol.grants import refuse_foreign_scopes
from ragecho.identity.protocol.keys import read_own_token
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import ProtocolRequest
from ragecho.identity.protocol.resources import asked_resources
from ragecho.identity.protocol.server import ProtocolServer
from ragecho.platform.bridge import run

RESPONSE_MODES = ("query", "form_post")
PROMPTS = frozenset({"none", "login", "consent", "select_account", "create"})
# What is kept of a request while a person signs in; anything else is not used.
KEPT = frozenset({
    "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge",
    "code_challenge_method", "prompt", "max_age", "login_hint", "ui_locales", "claims", "acr_values", "id_token_hint",
    "display", "claims_locales", "resource", "is_redirect_uri_given",
})  # fmt: skip
MAX_CLAIMS = 4096
_AGE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request of a known client to a registered address, checked. `subject` is whom it is about, where it says so."""

    client: Client
    redirect_uri: str
    is_redirect_uri_given: bool
    parameters: Mapping[str, str]
    scopes: tuple[str, ...]
    response_mode: str
    state: str | None
    prompt: frozenset[str]
    max_age: int | None
    claims: Mapping[str, Any] | None
    subject: str | None
    resources: tuple[str, ...]
    acr: WantedAcr


class RequestNotSupportedError(OAuth2Error):  # type: ignore[misc]  # Authlib has no annotations
    """Request objects by value are not supported (OpenID Connect Core 6.1)."""

    error = "request_not_supported"
    description = "Request objects are not supported; send the parameters, or push them to the PAR endpoint."


class RequestUriNotSupportedError(OAuth2Error):  # type: ignore[misc]  # Authlib has no annotations
    """Request objects by reference are not supported, but for pushed requests."""

    error = "request_uri_not_supported"
    description = "Only a request_uri of this server's PAR endpoint is supported."


class UnanswerableError(Exception):
    """The client or its address is not certain: a page is shown and nobody is redirected. The text is for a developer."""

    def __init__(self, error: OAuth2Error) -> None:
        super().__init__(error.error)
        self.error = str(error.error)
        self.description = str(error.get_error_description() or "")


class RefusedError(Exception):
    """The client learns `error` at its registered address."""

    def __init__(self, error: OAuth2Error, *, redirect_uri: str, response_mode: str, state: str | None) -> None:
        super().__init__(error.error)
        self.error = str(error.error)
        self.description = str(error.get_error_description() or "")
        self.redirect_uri = redirect_uri
        self.response_mode = response_mode
        self.state = state


async def check_request(work: Work, parameters: Mapping[str, str]) -> AuthorizationRequest:
    """Return the checked request. Raises `UnanswerableError` or `RefusedError`."""
    mode = parameters.get("response_mode", "query")
    try:
        return await run(_check, work, parameters)
    except OAuth2Error as error:
        if isinstance(error, UnsupportedResponseTypeError):
            error.response_type = parameters.get("response_type", "(none)")
        if not error.redirect_uri:
            raise UnanswerableError(error) from error
        raise RefusedError(
            error,
            redirect_uri=error.redirect_uri,
            response_mode=mode if mode in RESPONSE_MODES else "query",
            state=parameters.get("state"),
        ) from error


def _check(work: Work, parameters: Mapping[str, str]) -> AuthorizationRequest:
    request = ProtocolRequest("GET", "/authorize", parameters)
    grant = ProtocolServer(work).get_consent_grant(request)
    try:
        return _check_rest(work, request, grant.redirect_uri)
    except OAuth2Error as error:
        error.redirect_uri = grant.redirect_uri
        raise


def _check_rest(work: Work, request: ProtocolRequest, redirect_uri: str) -> AuthorizationRequest:
    parameters, client = request.args, request.client
    if "request" in parameters:
        raise RequestNotSupportedError
    if "request_uri" in parameters:
        raise RequestUriNotSupportedError
    mode = parameters.get("response_mode", "query")
    if mode not in RESPONSE_MODES or (mode == "form_post" and not redirect_uri.startswith(("https://", "http://"))):
        raise InvalidRequestError("response_mode is 'query' or 'form_post' (with an http or https redirect_uri).")
    asked = parameters.get("scope", "").split()
    refuse_foreign_scopes(client, asked)
    if not request.scope:
        raise InvalidScopeError("Name a scope, for instance 'openid'.")
    prompt = frozenset(parameters.get("prompt", "").split())
    if prompt - PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise InvalidRequestError("prompt is 'none' alone, or some of login, consent, select_account, create.")
    claims = _claims(parameters.get("claims"))
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        is_redirect_uri_given=parameters.get("is_redirect_uri_given", "yes" if "redirect_uri" in parameters else "no")
        == "yes",
        parameters={name: value for name, value in parameters.items() if name in KEPT},
        scopes=tuple(request.scope.split()),
        response_mode=mode,
        state=parameters.get("state"),
        prompt=prompt,
        max_age=_max_age(parameters.get("max_age"), client),
        claims=claims,
        subject=_subject(work, parameters.get("id_token_hint"), claims),
        resources=asked_resources(work.provider, client, parameters),
        acr=wanted_acr(parameters.get("acr_values"), claims),
    )


def _max_age(given: str | None, client: Client) -> int | None:
    if given is None:
        default = client.metadata.get("default_max_age")
        return default if isinstance(default, int) else None
    if not _AGE.fullmatch(given):
        raise InvalidRequestError("max_age is a number of seconds.")
    return int(given)


def _claims(given: str | None) -> Mapping[str, Any] | None:
    if given is None:
        return None
    try:
        parsed = orjson.loads(given) if len(given) <= MAX_CLAIMS else None
    except orjson.JSONDecodeError:
        parsed = None
    places = (parsed.get("userinfo"), parsed.get("id_token")) if isinstance(parsed, dict) else ("",)
    is_sound = all(
        place is None or (isinstance(place, dict) and all(isinstance(wish, dict | None) for wish in place.values()))
        for place in places
    )
    if not is_sound:
        raise InvalidRequestError("claims is a JSON object with the members userinfo and id_token.")
    kept = {name: value for name, value in zip(("userinfo", "id_token"), places, strict=True) if value}
    return kept or None


def _subject(work: Work, id_token_hint: str | None, claims: Mapping[str, Any] | None) -> str | None:
    """Return whom the request is about: the hint's subject, or the one that `claims` asks for (Core 5.5.1)."""
    wish = ((claims or {}).get("id_token") or {}).get("sub") or {}
    wanted = wish.get("value")
    if wanted is not None and not isinstance(wanted, str):
        raise InvalidRequestError("claims asks for a subject that is no string.")
    if id_token_hint is None:
        return wanted
    hint = read_own_token(id_token_hint, work.keys.verification)
    if hint is None or hint.get("iss") != work.provider.issuer or hint["typ"] == "at+jwt" or not hint.get("sub"):
        raise InvalidRequestError("id_token_hint is no ID token of this server.")
    return str(hint["sub"])
