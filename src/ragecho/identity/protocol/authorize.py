"""The authorization endpoint: from a request, a browser and what a person did there to the next place to go."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from authlib.common.urls import add_params_to_uri

from ragecho.identity.client_model import digest_of
from ragecho.identity.protocol import interactions, store_grants, store_interactions
from ragecho.identity.protocol.acr import ACR_VALUES
from ragecho.identity.protocol.acr import UnmetAuthenticationRequirementsError as Unmet
from ragecho.identity.protocol.authorization_request import (
    AuthorizationRequest,
    RefusedError,
    UnanswerableError,
    check_request,
)
from ragecho.identity.protocol.model import BrowserSession, Interaction
from ragecho.identity.protocol.provider import Work
from ragecho.kernel.errors import NotFound, RateLimited
from ragecho.kernel.ids import uuid7

REQUEST_URI_PREFIX = "urn:ietf:params:oauth:request_uri:"
PAGES = {"login": "/identity/login", "second_factor": "/identity/login/step-up", "consent": "/identity/consent"}


@dataclass(frozen=True, slots=True)
class ToClient:
    """Send the browser to the client with `parameters`, by redirect or by an automatic form."""

    redirect_uri: str
    response_mode: str
    parameters: tuple[tuple[str, str], ...]

    @property
    def location(self) -> str:
        """The redirect."""
        return str(add_params_to_uri(self.redirect_uri, list(self.parameters)))


@dataclass(frozen=True, slots=True)
class ToPage:
    """Send the browser to one of our pages. `browser_cookie` is the binding cookie to set."""

    location: str
    browser_cookie: str


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """Show what is wrong; redirect nowhere."""

    error: str
    description: str
    status: int = 400


Answer = ToClient | ToPage | ErrorPage


async def authorize(
    work: Work, parameters: Mapping[str, str], *, session: BrowserSession | None, browser_cookie: str | None
) -> Answer:
    """Answer a new authorization request."""
    try:
        # Only for ourselves: what is remembered of a request while a person signs in.
        given = {name: value for name, value in parameters.items() if name != "is_redirect_uri_given"}
        request = await check_request(work, await _pushed(work, given))
        return await _decide_new(work, request, session, browser_cookie)
    except UnanswerableError as error:
        return ErrorPage(error.error, error.description)
    except RefusedError as error:
        return _refusal(work, error)
    except RateLimited:
        return ErrorPage("temporarily_unavailable", "Too many sign-ins were started here. Wait a minute.", status=429)


async def proceed(
    work: Work, interaction: Interaction, *, session: BrowserSession | None, browser_cookie: str
) -> Answer:
    """Answer a request whose person has been on a page; everything is looked at again."""
    try:
        request = await check_request(work, interaction.parameters)
        if interaction.is_denied:
            return await _finish(work, interaction, _error(work, request, "access_denied", "The person refused."))
        if session is None or interaction.session_id != session.id or not interactions.suffices(interaction, session):
            return await _to_page(work, interaction.id, "login", browser_cookie)
        if await _lacks_factor(work, request, session):
            return await _to_page(work, interaction.id, "second_factor", browser_cookie)
        return await _proceed_as(work, interaction, request, session, browser_cookie)
    except UnanswerableError as error:
        return ErrorPage(error.error, error.description)
    except RefusedError as error:
        return _refusal(work, error)


async def _proceed_as(
    work: Work, interaction: Interaction, request: AuthorizationRequest, session: BrowserSession, browser_cookie: str
) -> Answer:
    """Answer for the person who has signed in for this request."""
    if request.subject is not None and request.subject != str(session.user_id):
        other = _error(work, request, "login_required", "Another person has signed in.")
        return await _finish(work, interaction, other)
    if request.acr.told(session.acr) is None:
        return await _finish(work, interaction, _unmet(work, request))
    approved = interaction.approved_scopes if interaction.user_id == session.user_id else None
    if approved is None and await _needs_consent(work, request, session):
        return await _to_page(work, interaction.id, "consent", browser_cookie)
    if approved is not None and not approved:
        return await _finish(work, interaction, _error(work, request, "access_denied", "Nothing was approved."))
    if not await store_interactions.finish(work.db, interaction.id):
        return ErrorPage("invalid_request", "This sign-in was finished already.")
    if approved:
        await store_grants.add_consent(work.db, session.user_id, request.client.id, approved)
    return await _issue(work, request, session, approved or request.scopes)


async def _pushed(work: Work, parameters: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters of a pushed request, else the given ones. Raises `UnanswerableError`."""
    reference = parameters.get("request_uri", "")
    client_id = parameters.get("client_id", "")
    if not reference.startswith(REQUEST_URI_PREFIX):
        return parameters
    found = await store_grants.take_pushed_request(work.db, digest_of(reference), client_id)
    if found is None:
        raise UnanswerableError(_InvalidRequestUri)
    return found


class _InvalidRequestUri:
    error = "invalid_request_uri"

    @staticmethod
    def get_error_description() -> str:
        return "This request_uri is unknown, expired, was used before, or belongs to another client."


async def _decide_new(
    work: Work, request: AuthorizationRequest, session: BrowserSession | None, browser_cookie: str | None
) -> Answer:
    step = await _next_step(work, request, session)
    if session is not None and step in (None, "consent") and request.acr.told(session.acr) is None:
        return _unmet(work, request)
    if step is None:
        assert session is not None
        return await _issue(work, request, session, request.scopes)
    if "none" in request.prompt:
        if step == "second_factor" and request.acr.is_essential:
            return _unmet(work, request)
        if step in ("login", "second_factor"):
            return _error(work, request, "login_required", "Nobody is signed in who could answer without a page.")
        return _error(work, request, "consent_required", "The person has not allowed this application yet.")
    await work.provider.begin_visit(work.db, work.address)
    cookie = browser_cookie if browser_cookie and len(browser_cookie) == _COOKIE_LENGTH else new_browser_cookie()
    interaction_id = uuid7()
    parameters = {
        **request.parameters,
        "redirect_uri": request.redirect_uri,
        "is_redirect_uri_given": "yes" if request.is_redirect_uri_given else "no",
    }
    if request.max_age is not None:
        parameters["max_age"] = str(request.max_age)
    await store_interactions.insert(
        work.db,
        interaction_id,
        browser_sha256=interactions.digest_of(cookie),
        client_id=request.client.id,
        parameters=parameters,
        step=step,
        seconds=work.provider.settings.interaction_seconds,
    )
    if step in ("consent", "second_factor") and session is not None:
        await store_interactions.note_login(work.db, interaction_id, user_id=session.user_id, session_id=session.id)
    return await _to_page(work, interaction_id, step, cookie)


async def _next_step(work: Work, request: AuthorizationRequest, session: BrowserSession | None) -> str | None:
    if session is None or request.prompt & {"login", "select_account", "create"}:
        return "login"
    if request.subject is not None and request.subject != str(session.user_id):
        return "login"
    age = (datetime.now(UTC) - session.authenticated_at).total_seconds()
    if request.max_age is not None and age > request.max_age:
        return "login"
    if await _lacks_factor(work, request, session):
        return "second_factor"
    return "consent" if await _needs_consent(work, request, session) else None


async def _lacks_factor(work: Work, request: AuthorizationRequest, session: BrowserSession) -> bool:
    """Return whether the person is to show a second factor: the request asks and they have one, or their organisation does.

    Whoever lacks what their organisation requires is asked to set it up, on the same page.
    """
    if session.acr == ACR_VALUES[-1]:
        return False
    has_one, is_required = await work.provider.second_factor_state(work.db, session.user_id)
    return is_required or (has_one and request.acr.exceeds(session.acr))


async def _needs_consent(work: Work, request: AuthorizationRequest, session: BrowserSession) -> bool:
    if request.client.is_first_party:
        return False
    if "consent" in request.prompt:
        return True
    allowed = await store_grants.find_consent(work.db, session.user_id, request.client.id)
    return not set(request.scopes) <= allowed


async def _issue(
    work: Work, request: AuthorizationRequest, session: BrowserSession, scopes: tuple[str, ...]
) -> ToClient:
    """Make the grant and its code."""
    settings = work.provider.settings
    grant_id, code = uuid7(), secrets.token_urlsafe(32)
    await store_grants.insert_grant(
        work.db,
        grant_id,
        client_id=request.client.id,
        user_id=session.user_id,
        session_id=session.id,
        scopes=scopes,
        resources=request.resources,
        auth_time=session.authenticated_at,
        acr=request.acr.told(session.acr),
        amr=session.amr,
        claims=request.claims,
        days=settings.grant_days,
    )
    await store_grants.insert_code(
        work.db,
        digest_of(code),
        grant_id=grant_id,
        client_id=request.client.id,
        redirect_uri=request.redirect_uri,
        is_redirect_uri_given=request.is_redirect_uri_given,
        nonce=request.parameters.get("nonce"),
        code_challenge=request.parameters.get("code_challenge"),
        seconds=settings.code_seconds,
    )
    return _to_client(work, request.redirect_uri, request.response_mode, request.state, [("code", code)])


async def _to_page(work: Work, interaction_id: UUID, step: str, browser_cookie: str) -> ToPage:
    await store_interactions.note_step(work.db, interaction_id, step)
    return ToPage(f"{PAGES[step]}?interaction={interaction_id}", browser_cookie)


async def _finish(work: Work, interaction: Interaction, answer: ToClient) -> Answer:
    if await store_interactions.finish(work.db, interaction.id):
        return answer
    return ErrorPage("invalid_request", "This sign-in was finished already.")


def _unmet(work: Work, request: AuthorizationRequest) -> ToClient:
    return _error(work, request, str(Unmet.error), Unmet.description)


def _error(work: Work, request: AuthorizationRequest, error: str, description: str) -> ToClient:
    named = [("error", error), ("error_description", description)]
    return _to_client(work, request.redirect_uri, request.response_mode, request.state, named)


def _refusal(work: Work, refused: RefusedError) -> ToClient:
    named = [("error", refused.error), ("error_description", refused.description)]
    return _to_client(work, refused.redirect_uri, refused.response_mode, refused.state, named)


def _to_client(
    work: Work, redirect_uri: str, response_mode: str, state: str | None, named: list[tuple[str, str]]
) -> ToClient:
    """Return the answer with `state` and, on success and all errors, `iss` (RFC 9207)."""
    both = [*named, *([("state", state)] if state is not None else []), ("iss", work.provider.issuer)]
    return ToClient(redirect_uri, response_mode, tuple(both))


_COOKIE_LENGTH = 43


def new_browser_cookie() -> str:
    """Return a new binding cookie: 256 random bits."""
    return secrets.token_urlsafe(32)


async def load_interaction(work: Work, interaction_id: UUID, browser_cookie: str | None) -> Interaction | None:
    """Return the interaction of this browser, or None."""
    try:
        return await interactions.load(work.db, interaction_id, browser_cookie)
    except NotFound:
        return None


LOST = ErrorPage(
    "invalid_request",
    "This sign-in link has expired or belongs to another browser. Go back to the application and start again.",
    status=410,
)
