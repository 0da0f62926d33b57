"""`/consent`: what an app may do, told in words, and the person's decision. `/switch-account`: somebody else decides."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.sessions import EndReason, end_session
from ragecho.identity.pages.kit import Answered, Kit
from ragecho.identity.pages.render import form_target
from ragecho.identity.pages.ways import Way
from ragecho.identity.pages.words import place_of, scopes_in_words
from ragecho.identity.protocol import interactions
from ragecho.identity.protocol.model import Interaction
from ragecho.kernel.errors import InvalidInput
from ragecho.platform.database import Session


def consent_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)

    @router.get("/consent")
    async def show_consent(request: Request) -> Response:
        way = Way.of(request.query_params)
        async with kit.transaction() as db:
            interaction = await _known(kit, db, request, way)
            return await _consent_page(kit, db, request, interaction)

    @router.post("/consent")
    async def decide(request: Request) -> Response:
        form = await kit.form(request)
        way = Way.of(form)
        async with kit.transaction() as db:
            interaction = await _known(kit, db, request, way)
            visitor = await kit.visitor(db, request)
            kit.check_form(request, form, session=visitor.binding, back=kit.address(f"consent?{way.suffix}"))
            if visitor.session is None:
                return kit.go(kit.address(f"login?{way.suffix}"))
            decision = form.get("decision")
            if decision == "deny":
                return kit.go(await interactions.deny(db, interaction))
            if decision != "allow":
                raise InvalidInput("A decision is missing.")
            if (interaction.user_id, interaction.session_id) != (visitor.session.user_id, visitor.session.id):
                # Another tab has signed in as somebody else: they must decide for themselves.
                return kit.go(kit.address(f"login?{way.suffix}"))
            return kit.go(await interactions.approve(db, interaction, visitor.session, interaction.scopes))

    @router.post("/switch-account")
    async def switch_account(request: Request) -> Response:
        form = await kit.form(request)
        way = Way.of(form)
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
            kit.check_form(request, form, session=visitor.binding, back=kit.address(f"login?{way.suffix}"))
            if visitor.session:
                await end_session(db, visitor.session.id, visitor.session.user_id, reason=EndReason.REPLACED)
        response = kit.go(kit.address(f"login?{way.suffix}"))
        kit.cookies.sign_out(response)
        return response

    return router


async def _known(kit: Kit, db: Session, request: Request, way: Way) -> Interaction:
    found = await kit.interaction(db, request, way)
    if found is None:
        raise Answered(kit.expired(request, None))
    return found


async def _consent_page(kit: Kit, db: Session, request: Request, interaction: Interaction) -> Response:
    way = Way(interaction.id)
    visitor = await kit.visitor(db, request)
    session = visitor.session
    if session is None or (interaction.user_id, interaction.session_id) != (session.user_id, session.id):
        return kit.go(kit.address(f"login?{way.suffix}"))
    account = await kit.person(db, session)
    language = kit.language(request, interaction)
    redirect_uri = interaction.parameters.get("redirect_uri", "")
    return kit.pages.page(
        request,
        "consent.html",
        language=language,
        session=visitor.binding,
        targets=[form_target(redirect_uri)],
        interaction=interaction.id,
        name=account.name,
        email=account.email,
        grants=scopes_in_words(language, interaction.scopes),
        unverified_host=place_of(redirect_uri),
        **kit.about_app(language, interaction),
    )
