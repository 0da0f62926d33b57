"""`/login` and `/login/second-factor`: from an e-mail address to a session, and on to where the person wanted to go."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts import store as accounts_store
from ragecho.identity.accounts import store_tickets
from ragecho.identity.accounts.digests import digest_of
from ragecho.identity.accounts.errors import BadCode
from ragecho.identity.accounts.model import Account, LoggedIn, Method, NeedsSecondFactor
from ragecho.identity.accounts.settings import Registration
from ragecho.identity.accounts.sign_in import TICKET_ATTEMPTS, second_factors
from ragecho.identity.accounts.text import MAX_EMAIL, MAX_NAME
from ragecho.identity.pages.kit import UNPROCESSABLE, Answered, Kit, Upstream, Visitor, form_status, refused
from ragecho.identity.pages.render import form_target
from ragecho.identity.pages.ways import Way
from ragecho.identity.protocol import interactions
from ragecho.identity.protocol.model import Interaction
from ragecho.kernel.errors import EchoError, RateLimited
from ragecho.kernel.ids import UserId


@dataclass(frozen=True, slots=True)
class Asked:
    """What a login page is about."""

    way: Way
    interaction: Interaction | None
    visitor: Visitor
    account: Account | None
    upstreams: tuple[Upstream, ...]

    @property
    def may_continue(self) -> bool:
        """Return whether whoever is signed in already may go on without showing it again."""
        session = self.visitor.session
        return bool(session and self.interaction and interactions.suffices(self.interaction, session))


def sign_in_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)

    @router.get("/login")
    async def show_login(request: Request) -> Response:
        asked = await _asked(kit, request, request.query_params)
        if asked.interaction is None and asked.visitor.session and "again" not in request.query_params:
            return kit.go(kit.address(asked.way.page))
        wants_account = asked.interaction is not None and asked.interaction.wants_registration
        if wants_account and _may_register(kit) and "known" not in request.query_params:
            return kit.go(kit.address(f"register?{asked.way.suffix}"))
        return _login_page(kit, request, asked, email=_prefilled(asked))

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await kit.form(request)
        asked = await _asked(kit, request, form)
        kit.check_form(request, form, back=kit.address(f"login?{asked.way.suffix}"))
        return await _sign_in(kit, request, asked, form.get("email", "").strip(), form.get("password", ""))

    @router.post("/login/continue")
    async def go_on(request: Request) -> Response:
        form = await kit.form(request)
        asked = await _asked(kit, request, form)
        kit.check_form(request, form, back=kit.address(f"login?{asked.way.suffix}"))
        session = asked.visitor.session
        if session is None or asked.interaction is None or not asked.may_continue:
            return kit.go(kit.address(f"login?{asked.way.suffix}"))
        async with kit.transaction() as db:
            return kit.go(await interactions.complete_login(db, asked.interaction, session))

    @router.get("/login/step-up")
    async def step_up(request: Request) -> Response:
        """Ask whoever is signed in for the second factor, or to set one up where their organisation requires it."""
        asked = await _asked(kit, request, request.query_params)
        session, interaction = asked.visitor.session, asked.interaction
        if session is None or (interaction is not None and interaction.session_id != session.id):
            return kit.go(kit.address(f"login?{asked.way.suffix}"))
        async with kit.transaction() as db:
            outcome = await kit.sign_in.step_up(db, session)
            is_required = await accounts_store.requires_second_factor(db, session.user_id)
        if outcome is not None:
            return await signed_in(kit, request, asked.way, outcome)
        if is_required:
            return _enrolment_page(kit, request, asked)
        return kit.go(interactions.continue_url(interaction.id) if interaction else kit.address(asked.way.page))

    @router.get("/login/second-factor")
    async def show_second_factor(request: Request) -> Response:
        asked = await _asked(kit, request, request.query_params)
        return await _factor_page(kit, request, asked, request.query_params.get("kind"))

    @router.post("/login/second-factor")
    async def finish(request: Request) -> Response:
        form = await kit.form(request)
        asked = await _asked(kit, request, form)
        kit.check_form(request, form, back=kit.address(f"login?{asked.way.suffix}"))
        return await _finish_with_code(kit, request, asked, form.get("kind"), form.get("code", "").strip())

    return router


async def signed_in(kit: Kit, request: Request, way: Way, outcome: LoggedIn | NeedsSecondFactor) -> Response:
    """Return the answer to a sign-in by any method: on to the app or page, or to the second factor; with the cookies."""
    if isinstance(outcome, NeedsSecondFactor):
        response = kit.go(kit.address(f"login/second-factor?{way.suffix}"))
        seconds = int((outcome.expires_at - datetime.now(UTC)).total_seconds())
        kit.cookies.keep_ticket(response, outcome.ticket, seconds=seconds)
        return response
    url = kit.address(way.page)
    try:
        async with kit.transaction() as db:
            interaction = await kit.interaction(db, request, way)
            if interaction is not None:
                url = await interactions.complete_login(db, interaction, outcome.session)
        response = kit.go(url)
    except Answered as answered:
        response = answered.response  # the request is over; the person is signed in all the same
    kit.cookies.sign_in(response, secret=outcome.secret, device_secret=outcome.device_secret)
    return response


async def _asked(kit: Kit, request: Request, values: Mapping[str, str]) -> Asked:
    way = Way.of(values)
    async with kit.transaction() as db:
        interaction = await kit.interaction(db, request, way)
        visitor = await kit.visitor(db, request)
        account = await kit.person(db, visitor.session) if visitor.session else None
        upstreams = [button for source in kit.upstreams for button in await source.buttons(db, way)]
    return Asked(way, interaction, visitor, account, tuple(upstreams))


def _may_register(kit: Kit) -> bool:
    return kit.tools.settings.registration is Registration.OPEN


def _prefilled(asked: Asked) -> str:
    hint = (asked.interaction.login_hint if asked.interaction else None) or ""
    if "@" in hint and len(hint) <= MAX_EMAIL:
        return hint
    # Whoever has to show again who they are, need not type the address again.
    return asked.account.email if asked.account and not asked.may_continue else ""


def _login_page(
    kit: Kit,
    request: Request,
    asked: Asked,
    *,
    email: str,
    problem: str | None = None,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    language = kit.language(request, asked.interaction)
    return kit.pages.page(
        request,
        "login.html",
        status=status,
        language=language,
        targets=_targets(asked.interaction),
        email=email[:MAX_EMAIL],
        problem=problem,
        problems=dict(problems or {}),
        current=(asked.account.name or asked.account.email)[:MAX_NAME]
        if asked.account and asked.may_continue
        else None,
        current_account=asked.account,
        suffix=asked.way.suffix,
        **asked.way.fields,
        has_passkeys=kit.services.passkeys.is_available,
        has_routing=bool(kit.upstreams),
        upstreams=asked.upstreams,
        may_register=_may_register(kit),
        **kit.about_app(language, asked.interaction),
    )


async def _sign_in(kit: Kit, request: Request, asked: Asked, email: str, password: str) -> Response:
    language = kit.language(request, asked.interaction)
    if not email:
        problems = {"email": str(language.text("login.email_missing"))}
        return _login_page(kit, request, asked, email="", problems=problems, status=UNPROCESSABLE)
    async with kit.transaction() as db:
        for source in kit.upstreams:
            elsewhere = await source.route(db, email, asked.way)
            if elsewhere:
                return kit.go(elsewhere)
    if not password:
        problems = {"password": str(language.text("login.password_missing"))}
        return _login_page(kit, request, asked, email=email, problems=problems, status=UNPROCESSABLE)
    try:
        outcome = await kit.sign_in.login(email, password, browser=kit.browser(request, asked.visitor))
    except EchoError as error:
        problem = kit.problem_of(language, error)
        page = _login_page(kit, request, asked, email=email, problem=problem, status=form_status(error))
        return refused(page, error)
    return await signed_in(kit, request, asked.way, outcome)


async def _methods(kit: Kit, request: Request) -> tuple[Method, ...]:
    """Return what the waiting sign-in may be finished with; nothing where none waits."""
    ticket = kit.cookies.ticket(request)
    if not ticket:
        return ()
    async with kit.transaction() as db:
        found = await store_tickets.find_ticket(db, digest_of(ticket), max_attempts=TICKET_ATTEMPTS)
        return await second_factors(db, UserId(found["user_id"])) if found else ()


async def _factor_page(
    kit: Kit,
    request: Request,
    asked: Asked,
    kind: str | None,
    *,
    problem: str | None = None,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    methods = [str(method) for method in await _methods(kit, request)]
    language = kit.language(request, asked.interaction)
    if not methods:
        text = problem or str(language.text("factor.expired"))
        return _login_page(kit, request, asked, email=_prefilled(asked), problem=text, status=status)
    chosen = kind if kind in methods else ("totp" if "totp" in methods else methods[0])
    others = [
        (method, kit.address(f"login/second-factor?{asked.way.suffix}&kind={method}"))
        for method in methods
        if method != chosen
    ]
    return kit.pages.page(
        request,
        "second_factor.html",
        status=status,
        language=language,
        targets=_targets(asked.interaction),
        methods=methods,
        kind=chosen,
        others=others,
        problem=problem,
        problems=dict(problems or {}),
        suffix=asked.way.suffix,
        **asked.way.fields,
    )


async def _finish_with_code(kit: Kit, request: Request, asked: Asked, kind: str | None, code: str) -> Response:
    language = kit.language(request, asked.interaction)
    ticket = kit.cookies.ticket(request)
    if not code:
        problems = {"code": str(language.text("factor.missing"))}
        return await _factor_page(kit, request, asked, kind, problems=problems, status=UNPROCESSABLE)
    if not ticket:
        return await _factor_page(kit, request, asked, kind, status=UNPROCESSABLE)
    try:
        outcome = await kit.sign_in.finish_with_code(ticket, code, browser=kit.browser(request, asked.visitor))
    except BadCode:
        problems = {"code": str(language.text("factor.wrong_recovery" if kind == "recovery" else "factor.wrong"))}
        return await _factor_page(kit, request, asked, kind, problems=problems, status=UNPROCESSABLE)
    except RateLimited as error:
        problem = kit.problem_of(language, error)
        page = await _factor_page(kit, request, asked, kind, problem=problem, status=form_status(error))
        return refused(page, error)
    except EchoError as error:
        problem = kit.problem_of(language, error)
        return _login_page(kit, request, asked, email=_prefilled(asked), problem=problem, status=form_status(error))
    return await signed_in(kit, request, asked.way, outcome)


def _enrolment_page(kit: Kit, request: Request, asked: Asked) -> Response:
    language = kit.language(request, asked.interaction)
    return kit.pages.page(
        request,
        "message.html",
        language=language,
        title=language.text("factor.required_title"),
        text=language.text("factor.required"),
        next_url=kit.address("account/security"),
        next_label=language.text("factor.set_up"),
        outbox_url=None,
    )


def _targets(interaction: Interaction | None) -> list[str | None]:
    return [form_target(interaction.parameters.get("redirect_uri", ""))] if interaction else []
