"""The protocol's own pages in the look of the others."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.pages.csrf import FIELD
from ragecho.identity.pages.render import Pages, form_target
from ragecho.identity.protocol.authorize import ErrorPage


@dataclass(frozen=True, slots=True)
class RenderedPages:
    """`ProtocolPages` over the templates. `home_url` is where a person without an application to go back to begins."""

    pages: Pages
    home_url: str

    def error(self, request: Request, error: ErrorPage) -> Response:
        """Return the page for a request that nobody can be redirected for; developers find what is wrong under details."""
        language = self.pages.language(request)
        is_over = error.status == 410  # noqa: PLR2004 - Gone
        return self.pages.error(
            request,
            status=error.status,
            title=str(language.text("error.expired_title" if is_over else "error.title")),
            text=str(language.text("error.expired" if is_over else "error.malformed")),
            details=[("error", error.error), ("error_description", error.description)],
            start_url=self.home_url,
        )

    def confirm_logout(
        self, request: Request, *, fields: dict[str, str], client_name: str | None, session: Any
    ) -> Response:
        """Return the page that asks whether to sign out."""
        return self.pages.page(
            request,
            "logout.html",
            session=str(session.id) if session else "",
            # The way back to the application follows the form: browsers hold `form-action` against it, too.
            targets=[form_target(fields.get("post_logout_redirect_uri", ""))],
            action=f"{self.pages.root}/logout",
            fields=fields,
            client=client_name,
            name=None,
            email=None,
            may_stay=True,
        )

    def signed_out(self, request: Request) -> Response:
        """Return the page after signing out where there is no address to go to."""
        language = self.pages.language(request)
        return self.pages.page(
            request,
            "message.html",
            title=str(language.text("logout.done_title")),
            text=str(language.text("logout.done")),
            next_url=self.home_url,
            next_label=str(language.text("logout.again")),
            outbox_url=None,
        )

    def is_genuine(self, request: Request, form: dict[str, str], *, session: Any) -> bool:
        """Return whether the form came from our page in this browser."""
        return self.pages.guard.is_genuine(request, form.get(FIELD), session=str(session.id) if session else "")
