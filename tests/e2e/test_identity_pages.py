"""Signing in through the pages: to the app and back, in words and languages, on small screens, and when it goes wrong."""

# ruff: noqa: F401, F811 - imported fixtures are used by their names

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import expect
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import PASSWORD, Person, RelyingParty, as_owner
from tests.e2e.identity_pages import NAME, App, Visitor, app, arrived, asked, browser, client, people, server, visit


class TestSigningIn:
    def test_login_and_consent_lead_back_to_the_app_with_a_code(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        requested: list[str] = []
        me.page.on("request", lambda request: requested.append(request.url))
        url, verifier = asked(client, app)
        me.go(url)
        expect(me.page.locator("h1")).to_have_text("Sign in")
        expect(me.page.locator(".lead")).to_contain_text(NAME)
        me.sign_in(person)
        expect(me.page.locator("h1")).to_have_text(f"{NAME} asks for access")
        expect(me.page.locator(".grants")).to_contain_text("list, read and search documents")
        expect(me.page.locator(".person")).to_contain_text(person.email)
        me.press("Allow")
        back = arrived(app, me.page)
        answer = client.redeem(back["code"], verifier, redirect_uri=f"{app.url}/callback")
        assert answer.status_code == 200, answer.text
        assert [item for item in requested if not item.startswith((me.base, app.url, "data:"))] == []

    def test_refusing_tells_the_app(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me = visit()
        me.go(asked(client, app)[0])
        me.sign_in(people())
        me.press("Refuse")
        assert arrived(app, me.page)["error"] == "access_denied"

    def test_it_works_without_javascript_in_german_from_the_keyboard(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me, person = visit(java_script_enabled=False), people()
        me.go(asked(client, app, ui_locales="de-AT de")[0])
        assert me.page.locator("html").get_attribute("lang") == "de"
        expect(me.page.locator("h1")).to_have_text("Anmelden")
        expect(me.page.locator("#passkey-sign-in")).to_be_hidden()
        # The e-mail field has the focus: type, tab, type, enter.
        me.page.keyboard.type(person.email)
        me.page.keyboard.press("Tab")
        me.page.keyboard.type(PASSWORD)
        me.page.keyboard.press("Enter")
        expect(me.page.locator("h1")).to_contain_text("bittet um Zugriff")
        me.press("Erlauben")
        assert "code" in arrived(app, me.page)

    def test_a_wrong_password_is_told_aloud_and_the_address_stays(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go(asked(client, app)[0])
        me.sign_in(person, password="not it")
        expect(me.page.get_by_role("alert").filter(has_text="do not match")).to_be_visible()
        assert me.page.title().startswith("Problem: ")
        assert me.page.locator("#email").input_value() == person.email
        assert me.page.locator("#password").input_value() == ""
        me.sign_in(person)
        me.press("Allow")
        assert "code" in arrived(app, me.page)

    def test_too_many_attempts_say_how_many_seconds_to_wait(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go("login")
        for _ in range(12):
            with me.page.expect_response(lambda answer: answer.url.endswith("/identity/login")) as answered:
                me.sign_in(person, password="not it")
            if answered.value.status == 429:
                break
        assert answered.value.status == 429
        assert int(answered.value.headers["retry-after"]) >= 1
        expect(me.page.get_by_role("alert").filter(has_text=re.compile(r"in \d+ seconds?"))).to_be_visible()

    def test_switching_the_account_asks_again_and_goes_on(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me, first, second = visit(), people(), people()
        me.go(asked(client, app)[0])
        me.sign_in(first)
        me.press("Use another account")
        me.sign_in(second)
        expect(me.page.locator(".person")).to_contain_text(second.email)
        me.press("Allow")
        assert "code" in arrived(app, me.page)

    def test_who_is_signed_in_may_go_on_or_choose(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go("login")
        me.sign_in(person)
        me.page.wait_for_url("**/identity/account")
        me.go(asked(client, app, prompt="select_account")[0])
        me.page.get_by_role("button", name=f"Continue as {person.name}").click()
        me.press("Allow")
        assert "code" in arrived(app, me.page)

    def test_an_app_may_sign_people_in_in_a_window_of_its_own(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me = visit()
        me.go(f"{app.url}/start")
        with me.page.expect_popup() as opened:
            me.page.evaluate("url => void window.open(url, 'sign-in', 'popup')", asked(client, app)[0])
        window = opened.value
        window.locator("#email").fill(people().email)
        window.locator("#password").fill(PASSWORD)
        window.locator("form[action$='/login'] button[type=submit]").click()
        window.get_by_role("button", name="Allow").click()
        assert "code" in arrived(app, window)
        assert window.evaluate("window.opener !== null")

    def test_an_app_may_have_the_answer_posted(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me = visit()
        me.go(asked(client, app, response_mode="form_post")[0])
        me.sign_in(people())
        me.press("Allow")
        me.page.wait_for_url(f"{app.url}/callback")
        assert "code=" in app.posted[-1]


class TestWaysBack:
    def test_an_expired_page_leads_back_to_the_apps_own_beginning(
        self,
        visit: Callable[..., Visitor],
        server: Server,
        client: RelyingParty,
        app: App,
        people: Callable[[], Person],
    ) -> None:
        me, person = visit(), people()
        me.go(asked(client, app)[0])
        with as_owner(server) as db:
            db.execute("update identity_interactions set expires_at = now() - interval '1 second'")
        me.sign_in(person)
        expect(me.page.locator("h1")).to_have_text("This sign-in page has expired")
        me.page.get_by_role("link", name="Start again").click()
        me.page.wait_for_url(f"{app.url}/start")

    def test_another_browser_gets_a_page_and_a_way_on(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App
    ) -> None:
        mine, theirs = visit(), visit()
        mine.go(asked(client, app)[0])
        theirs.go(mine.page.url)
        expect(theirs.page.locator("h1")).to_have_text("This sign-in page has expired")
        assert urlsplit(theirs.page.get_by_role("link", name="Start again").get_attribute("href") or "").path == "/app/"

    def test_going_back_after_it_is_done_is_no_dead_end(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me = visit()
        me.go(asked(client, app)[0])
        me.sign_in(people())
        me.press("Allow")
        arrived(app, me.page)
        me.page.go_back()
        assert me.page.get_by_role("link", name="Start again").get_attribute("href") == f"{app.url}/start"

    @pytest.mark.parametrize("given", ["https://evil.example/", "//evil.example", "account/../../evil", "javascript:1"])
    def test_nothing_leads_to_an_address_of_the_request(
        self, visit: Callable[..., Visitor], people: Callable[[], Person], given: str
    ) -> None:
        me = visit()
        me.go(f"login?{urlencode({'next': given})}")
        me.sign_in(people())
        me.page.wait_for_url(f"{me.base}/account")

    def test_signing_out_for_an_app_asks_and_returns_to_it(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me = visit()
        me.go("login")
        me.sign_in(people())
        me.page.wait_for_url("**/identity/account")
        me.go(f"logout?{urlencode({'client_id': client.id, 'post_logout_redirect_uri': f'{app.url}/bye'})}")
        me.press("Sign out")
        me.page.wait_for_url(f"{app.url}/bye")
        me.go("account")
        expect(me.page.locator("h1")).to_have_text("Sign in")


LOOKED_AT = (
    "login",
    "register",
    "forgot-password",
    "device",
    "account",
    "account/security",
    "account/devices",
    "account/apps",
    "account/delete",
    "outbox",
    "reset-password?token=x",
    "logout",
)


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_pages_fit_320_pixels_and_every_field_has_a_name(
        self, visit: Callable[..., Visitor], people: Callable[[], Person], scheme: str
    ) -> None:
        me = visit(viewport={"width": 320, "height": 640}, color_scheme=scheme, locale="de-DE")
        for path in ("login", "forgot-password", "register"):
            self._look(me, path)
        me.go("login")
        me.sign_in(people())
        me.page.wait_for_url("**/identity/account")
        for path in LOOKED_AT:
            self._look(me, path)

    def _look(self, me: Visitor, path: str) -> None:
        me.go(path)
        wide = me.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, (path, wide)
        assert me.page.locator("h1").count() == 1, path
        assert me.page.locator("html").get_attribute("lang") == "de"
        unnamed = me.page.evaluate(
            """[...document.querySelectorAll("input:not([type=hidden]):not([aria-hidden])")]
               .filter((field) => !field.labels.length && !field.ariaLabel).map((field) => field.name)"""
        )
        assert unnamed == [], path
        assert me.page.evaluate(CONTRAST) == [], path

    def test_where_the_focus_is_can_be_seen(self, visit: Callable[..., Visitor]) -> None:
        me = visit()
        me.go("login")
        for _ in range(6):
            me.page.keyboard.press("Tab")
            width = me.page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
            assert width >= 2, me.page.evaluate("document.activeElement.outerHTML")


# Text on its own background, after WCAG 2.2 (1.4.3): 4.5 to 1. Returns what is below.
CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")
