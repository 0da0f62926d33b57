"""What all routes of the pages share: forms, the browser's session, requests under way, and errors as pages."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ragecho.identity.accounts import sessions
from ragecho.identity.accounts import store as accounts_store
from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.model import Account, BrowserSession
from ragecho.identity.accounts.sign_in import Browser, SignIn
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.pages import store_ways
from ragecho.identity.pages.cookies import Cookies
from ragecho.identity.pages.csrf import FIELD
from ragecho.identity.pages.language import Language
from ragecho.identity.pages.render import OPENER_KEPT, Pages
from ragecho.identity.pages.ways import Way
from ragecho.identity.pages.words import app_links, is_web_address
from ragecho.identity.protocol import interactions
from ragecho.identity.protocol.model import Interaction
from ragecho.kernel.errors import EchoError, NotFound, RateLimited
from ragecho.platform.database import Database, Session
from ragecho.platform.http import status_of
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)
SEE_OTHER = 303
UNPROCESSABLE = 422
INTERNAL = 500
_MINUTE = 60
_LONGEST_VALUE = 4096


class Answered(Exception):
    """Stops a route with an answer that is already made; what the transaction did is undone."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered")
        self.response = response


@dataclass(frozen=True, slots=True)
class Upstream:
    """A button "sign in with …": its name and the address, ours, that it leads to."""

    name: str
    href: str


class Upstreams(Protocol):
    """Sign-in by other providers, as the login page sees it. Federation gives it; there may be none."""

    async def buttons(self, db: Session, way: Way) -> Sequence[Upstream]:
        """Return what to offer to everybody."""
        ...

    async def route(self, db: Session, email: str, way: Way) -> str | None:
        """Return the address to send a person of this e-mail domain to, or None for a password here."""
        ...


@dataclass(frozen=True, slots=True)
class Visitor:
    """The browser of a request: its live session, if any."""

    session: BrowserSession | None

    @property
    def binding(self) -> str:
        """Return what forms shown to this visitor are bound to."""
        return str(self.session.id) if self.session else ""


@dataclass(frozen=True)
class Kit:
    """The collaborators of the pages. `database` runs as the identity role; `home_url` is the app to start again at."""

    database: Database
    services: AccountServices
    pages: Pages
    cookies: Cookies
    binding_cookie: str
    home_url: str
    upstreams: Sequence[Upstreams] = field(default_factory=tuple)

    @property
    def tools(self) -> AccountTools:
        """Return what accounts work with."""
        return self.services.tools

    @property
    def sign_in(self) -> SignIn:
        """Return the ways to get a session."""
        return self.services.sign_in

    @property
    def has_outbox(self) -> bool:
        """Return whether mails are read on a page here instead of being sent."""
        return self.tools.outbox.page_url is not None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Yield a transaction of the identity service."""
        async with self.database.anonymous() as db:
            yield db

    def address(self, path: str) -> str:
        """Return the address of a page of ours."""
        return f"{self.pages.root}/{path}"

    def go(self, url: str) -> Response:
        """Return a redirect after a form."""
        # The policy of a redirect counts, too: on the way of a request the opener stays, as on its pages.
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        kept = OPENER_KEPT if "interaction=" in url else {}
        return RedirectResponse(url, SEE_OTHER, headers={**headers, **kept})

    async def visitor(self, db: Session, request: Request) -> Visitor:
        """Return who is signed in in this browser."""
        return Visitor(await sessions.current_session(db, self.cookies.session(request)))

    async def person(self, db: Session, session: BrowserSession) -> Account:
        """Return who a live session is of. Raises `NotFound` when the account was deleted in this moment."""
        found = await accounts_store.find_account(db, session.user_id)
        if found is None:
            raise NotFound("This account does not exist any more.")
        return found

    def browser(self, request: Request, visitor: Visitor) -> Browser:
        """Return what accounts want to know of the browser."""
        return Browser(
            ip=request.client.host if request.client else None,
            user_agent=request.headers.get("user-agent"),
            device_secret=self.cookies.device(request),
            session=visitor.session,
            language=self.pages.language(request).tag,
        )

    async def form(self, request: Request) -> Mapping[str, str]:
        """Return the text fields of a form; the last of equal names counts."""
        async with request.form(max_files=0, max_fields=50) as found:
            return {name: value[:_LONGEST_VALUE] for name, value in found.items() if isinstance(value, str)}

    def check_form(self, request: Request, form: Mapping[str, str], *, session: str = "", back: str = "") -> None:
        """Stop with a page unless the form came from a page of ours in this browser; `back` leads to a fresh one."""
        if self.pages.guard.is_genuine(request, form.get(FIELD), session=session):
            return
        language = self.pages.language(request)
        raise Answered(
            self.pages.error(
                request,
                status=403,
                title=str(language.text("error.form_title")),
                text=str(language.text("error.form")),
                start_url=back or self.address("account"),
                start_label=str(language.text("error.reload")),
            )
        )

    async def interaction(self, db: Session, request: Request, way: Way) -> Interaction | None:
        """Return the request under way that `way` names, None where it names none; stop with a way back where it is over."""
        if way.interaction is None:
            return None
        cookie = request.cookies.get(self.binding_cookie)
        try:
            return await interactions.load(db, way.interaction, cookie)
        except NotFound:
            digest = interactions.digest_of(cookie or "")
            start = await store_ways.find_start(db, way.interaction, digest, issuer=self.tools.issuer)
            raise Answered(self.expired(request, start)) from None

    def expired(self, request: Request, start: store_ways.Start | None) -> Response:
        """Return the page of a request that is over, with the app's own beginning where we know it."""
        language = self.pages.language(request, start.ui_locales if start else None)
        url = next((url for url in (start.urls if start else ()) if is_web_address(url)), self.home_url)
        return self.pages.error(
            request,
            status=410,
            title=str(language.text("error.expired_title")),
            text=str(language.text("error.expired")),
            start_url=url,
            ui_locales=start.ui_locales if start else None,
        )

    def language(self, request: Request, interaction: Interaction | None) -> Language:
        """Return the language of a page in this request."""
        return self.pages.language(request, interaction.ui_locales if interaction else None)

    def about_app(self, language: Language, interaction: Interaction | None) -> dict[str, Any]:
        """Return what pages show of the app that asks."""
        if interaction is None:
            return {"client": None, "client_links": []}
        links = app_links(
            language, about=interaction.client_uri, privacy=interaction.policy_uri, terms=interaction.tos_uri
        )
        return {"client": interaction.client_name, "client_links": links}

    def problem_of(self, language: Language, error: EchoError) -> str:
        """Return an error in the page's language where it is one that we know, else in its own words."""
        if isinstance(error, RateLimited):
            return throttled(language, error)
        key = f"problem.{error.code}"
        reason = error.facts.get("reason")
        if f"{key}.{reason}" in language.texts:
            facts = {**error.facts, "length": self.tools.policy.min_length}
            return str(language.text(f"{key}.{reason}", **facts))
        return str(language.text(key)) if key in language.texts else error.message

    def page_route(self) -> type[APIRoute]:
        """Return the class of routes whose failures are pages, too."""
        kit = self

        class PageRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def shown(request: Request) -> Response:
                    try:
                        return await handle(request)
                    except Answered as answered:
                        return answered.response
                    except EchoError as error:
                        return kit.failure(request, status_of(error), error)
                    except RequestValidationError:
                        return kit.failure(request, 400, None)
                    except HTTPException as error:
                        return kit.failure(request, error.status_code, None)
                    except Exception as error:
                        log.error("http.failed", method=request.method, route=self.path, exc_info=error)
                        return kit.failure(request, 500, None)

                return shown

        return PageRoute

    def failure(self, request: Request, status: int, error: EchoError | None) -> Response:
        """Return an error page."""
        language = self.pages.language(request)
        known = {404: "not_found", 500: "internal", 503: "unavailable"}.get(status, "malformed")
        has_title = f"error.{known}_title" in language.texts
        title = language.text(f"error.{known}_title" if has_title else "error.title")
        is_told = error is not None and status != INTERNAL
        text = self.problem_of(language, error) if error and is_told else language.text(f"error.{known}")
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        response = self.pages.error(
            request,
            status=status,
            title=str(title),
            text=str(text),
            details=[("request_id", str(request_id))] if request_id else (),
            start_url=self.home_url,
            start_label=str(language.text("error.home")),
        )
        return refused(response, error) if error else response


def dead_link(kit: Kit, request: Request) -> Response:
    """Return the page of a link that does not work: used, expired, unknown; one page for all."""
    language = kit.pages.language(request)
    return kit.pages.error(
        request,
        status=410,
        title=str(language.text("link.dead_title")),
        text=str(language.text("link.dead")),
        start_url=kit.home_url,
        start_label=str(language.text("error.home")),
    )


def form_status(error: EchoError) -> int:
    """Return the status of a page that shows a form again because of `error`."""
    status = status_of(error)
    return status if status in {409, 429, 503} else UNPROCESSABLE


def refused(page: Response, error: EchoError) -> Response:
    """Return the page, which says when to come back where that is what is wrong."""
    if isinstance(error, RateLimited):
        page.headers["Retry-After"] = str(seconds_of(error))
    return page


def seconds_of(error: RateLimited) -> int:
    """Return how long to wait."""
    found = error.facts.get("retry_after_seconds", 1)
    return max(1, round(found)) if isinstance(found, (int, float)) else 1


def throttled(language: Language, error: RateLimited) -> str:
    """Return in words how long to wait."""
    seconds = seconds_of(error)
    if seconds < 2 * _MINUTE:
        return str(language.plural("login.throttled", seconds))
    return str(language.text("login.throttled_minutes", minutes=-(-seconds // _MINUTE), seconds=seconds))
