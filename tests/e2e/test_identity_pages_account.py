"""What people do with their account: factors, passkeys, mails, devices, apps, and its end."""

# ruff: noqa: F401, F811 - imported fixtures are used by their names

import base64
import hashlib
import secrets
from collections.abc import Callable

import httpx
import pyotp
import pytest
from playwright.sync_api import expect
from tests.e2e.conftest import Server, eventually
from tests.e2e.identity_driver import PASSWORD, Person, RelyingParty, as_owner
from tests.e2e.identity_pages import (
    NAME,
    App,
    Visitor,
    app,
    arrived,
    asked,
    browser,
    client,
    people,
    server,
    virtual_authenticator,
    visit,
)

from ragecho.kernel.ids import uuid7


class TestFactors:
    @pytest.mark.parametrize("way", ["suggestions", "button"])
    def test_a_passkey_is_added_signs_in_alone_and_is_removed(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person], way: str
    ) -> None:
        me, person = visit(), people()
        if way == "button":
            me.context.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
        virtual_authenticator(me)
        me.go("login?next=account/security")
        me.sign_in(person)
        me.press("Add a passkey")
        expect(me.page.get_by_role("status")).to_have_text("Your passkey is ready.")
        expect(me.page.locator(".items .name")).to_have_count(1)
        me.press("Sign out")
        expect(me.page.locator("h1")).to_have_text("You are signed out")
        url, verifier = asked(client, app)
        me.go(url)
        if way == "button":
            me.press("Sign in with a passkey")
        me.page.wait_for_url("**/consent?**")
        me.press("Allow")
        back = arrived(app, me.page)
        tokens = client.redeem(back["code"], verifier, redirect_uri=f"{app.url}/callback").json()
        claims = tokens["id_token"].split(".")[1]
        assert b'"mfa"' in base64.urlsafe_b64decode(claims + "==")
        me.go("account/security")
        me.page.get_by_text("Manage").first.click()
        me.page.get_by_role("button", name="Remove", exact=False).first.click()
        expect(me.page.get_by_role("status")).to_have_text("The passkey is removed.")

    def test_an_authenticator_app_is_set_up_and_asked_for_and_a_recovery_code_stands_in(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go("login?next=account/security")
        me.sign_in(person)
        me.press("Set up authenticator app")
        drawn = me.page.locator(".qr img")
        assert drawn.evaluate("image => image.complete && image.naturalWidth") > 50
        secret = (me.page.locator("p.secret").text_content() or "").replace(" ", "")
        me.page.locator("#code").fill("abc")
        me.press("Turn on")
        expect(me.page.locator("#code-problem")).to_be_visible()
        assert me.page.locator("#code").get_attribute("autocomplete") == "one-time-code"
        me.page.locator("#code").fill(pyotp.TOTP(secret).now())
        me.press("Turn on")
        codes = me.page.locator(".codes li").all_text_contents()
        assert len(codes) == 10
        me.page.get_by_role("link", name="I have kept them").click()
        me.press("Sign out")
        me.go("login")
        me.sign_in(person)
        expect(me.page.locator("h1")).to_have_text("Confirm that it is you")
        # Not even with the right password is there a session yet.
        elsewhere = me.context.new_page()
        elsewhere.goto(f"{me.base}/account")
        expect(elsewhere.locator("h1")).to_have_text("Sign in")
        elsewhere.close()
        me.page.get_by_role("link", name="Use a recovery code").click()
        me.page.locator("#code").fill(codes[0].upper())
        me.press("Continue")
        me.page.wait_for_url("**/identity/account")

    def test_a_passkey_is_a_second_factor_after_the_password(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        virtual_authenticator(me)
        me.go("login?next=account/security")
        me.sign_in(person)
        me.press("Add a passkey")
        expect(me.page.get_by_role("status")).to_have_text("Your passkey is ready.")
        me.press("Sign out")
        me.context.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
        me.go("login")
        me.sign_in(person)
        expect(me.page.locator("h1")).to_have_text("Confirm that it is you")
        me.press("Use a passkey")
        me.page.wait_for_url("**/identity/account")
        other = visit(java_script_enabled=False)
        other.go("login")
        other.sign_in(person)
        expect(other.page.locator("h1")).to_have_text("Confirm that it is you")
        expect(other.page.get_by_text("Passkeys need JavaScript")).to_be_visible()


class TestMails:
    def test_a_forgotten_password_is_reset_by_mail_and_ends_other_sessions(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        elsewhere, me, person = visit(), visit(), people()
        elsewhere.go("login")
        elsewhere.sign_in(person)
        elsewhere.page.wait_for_url("**/identity/account")
        me.go(asked(client, app)[0])
        me.page.get_by_role("link", name="Forgot password?").click()
        me.page.locator("#email").fill(person.email)
        me.press("Send link")
        expect(me.page.locator("h1")).to_have_text("Look into your mailbox")
        me.open_mail("password", person.email)
        me.page.locator("#password").fill("short")
        me.press("Save password")
        expect(me.page.locator("#password-problem")).to_have_text("A password has at least 12 characters.")
        me.page.locator("#password").fill("another-Meadow-77-glass")
        me.press("Save password")
        # The request that was under way goes on.
        me.press("Allow")
        assert "code" in arrived(app, me.page)
        elsewhere.go("account")
        expect(elsewhere.page.locator("h1")).to_have_text("Sign in")

    def test_an_unknown_address_gets_the_same_answer(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        shown = []
        for email in (person.email, person.email.replace("person", "nobody")):
            me.go("forgot-password")
            me.page.locator("#email").fill(email)
            me.press("Send link")
            shown.append(me.page.locator("main").inner_text().replace(email, "…"))
        assert shown[0] == shown[1]

    def test_registration_by_mail_goes_on_to_the_app(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App
    ) -> None:
        me = visit()
        me.go(asked(client, app, prompt="create")[0])
        expect(me.page.locator("h1")).to_have_text("Create an account")
        email = "björn.new@people.example"
        me.page.locator("#email").fill(email)
        me.press("Send link")
        me.open_mail("Confirm", email)
        me.page.locator("#name").fill("بيورن Ångström")
        me.page.locator("#password").fill("velvet-Orchard-19-tide")
        me.press("Create account")
        expect(me.page.locator(".person .name")).to_have_text("بيورن Ångström")
        me.press("Allow")
        assert "code" in arrived(app, me.page)

    def test_a_link_works_once(self, visit: Callable[..., Visitor], people: Callable[[], Person]) -> None:
        me, person = visit(), people()
        me.go("forgot-password")
        me.page.locator("#email").fill(person.email)
        me.press("Send link")
        me.open_mail("password", person.email)
        link = me.page.url
        me.page.locator("#password").fill("another-Meadow-77-glass")
        me.press("Save password")
        me.page.wait_for_url("**/identity/account")
        me.go(link)
        expect(me.page.locator("h1")).to_have_text("This link does not work any more")


class TestAccount:
    def test_a_device_is_signed_out_from_another(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        here, there, person = visit(), visit(), people()
        for one in (here, there):
            one.go("login")
            one.sign_in(person)
            one.page.wait_for_url("**/identity/account")
        here.go("account/devices")
        expect(here.page.locator(".items li")).to_have_count(2)
        expect(here.page.locator(".items li").first).to_contain_text("this one")
        expect(here.page.locator(".items li").last).to_contain_text("Chrome on Linux")
        here.page.locator(".items").get_by_role("button", name="Sign out").click()
        expect(here.page.get_by_role("status")).to_have_text("The device is signed out.")
        there.go("account")
        expect(there.page.locator("h1")).to_have_text("Sign in")
        here.go("account")
        expect(here.page.locator("h1")).to_have_text("Profile")

    def test_an_apps_access_is_taken_back_at_once(
        self, visit: Callable[..., Visitor], client: RelyingParty, app: App, people: Callable[[], Person]
    ) -> None:
        me = visit()
        url, verifier = asked(client, app)
        me.go(url)
        me.sign_in(people())
        me.press("Allow")
        back = arrived(app, me.page)
        tokens = client.redeem(back["code"], verifier, redirect_uri=f"{app.url}/callback").json()
        assert client.userinfo(tokens["access_token"]).status_code == 200
        me.go("account/apps")
        expect(me.page.locator(".items .name")).to_have_text(NAME)
        me.page.get_by_role("button", name="Remove access").click()
        expect(me.page.get_by_text("No app has access.")).to_be_visible()
        assert client.userinfo(tokens["access_token"]).status_code == 401
        assert client.refresh(tokens["refresh_token"]).status_code == 400

    def test_the_password_is_changed_and_the_name_and_time_zone_saved(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go("login")
        me.sign_in(person)
        me.page.locator("#name").fill("Zoë <script>alert(1)</script>")
        me.page.locator("#zoneinfo").fill("Europe/Berlin")
        me.press("Save")
        expect(me.page.get_by_role("status")).to_have_text("Saved.")
        assert me.page.locator("#name").input_value() == "Zoë <script>alert(1)</script>"
        me.go("account/security")
        me.page.get_by_text("Change password").click()
        me.page.locator("#current_password").fill("not it")
        me.page.locator("#new_password").fill("another-Meadow-77-glass")
        me.press("Save")
        expect(me.page.locator("#current_password-problem")).to_have_text("This is not your current password.")
        me.page.locator("#current_password").fill(PASSWORD)
        me.page.locator("#new_password").fill("another-Meadow-77-glass")
        me.press("Save")
        expect(me.page.get_by_role("status")).to_contain_text("Your password is changed.")
        me.press("Sign out")
        me.go("login")
        me.sign_in(person, password="another-Meadow-77-glass")
        me.page.wait_for_url("**/identity/account")

    def test_changing_how_one_signs_in_needs_a_recent_sign_in(
        self, visit: Callable[..., Visitor], server: Server, people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go("login?next=account/security")
        me.sign_in(person)
        me.page.wait_for_url("**/account/security")
        with as_owner(server) as db:
            db.execute(
                "update identity_sessions set authenticated_at = now() - interval '20 minutes' where user_id = %s",
                (person.id,),
            )
        me.press("Set up authenticator app")
        expect(me.page.locator("h1")).to_have_text("Sign in again to go on")
        me.page.get_by_role("link", name="Sign in again").click()
        assert me.page.locator("#email").input_value() == person.email
        me.sign_in(person)
        me.page.wait_for_url("**/account/security")
        me.press("Set up authenticator app")
        expect(me.page.locator(".qr img")).to_be_visible()

    def test_an_account_is_deleted_by_its_person(
        self, visit: Callable[..., Visitor], people: Callable[[], Person]
    ) -> None:
        me, person = visit(), people()
        me.go("login?next=account/delete")
        me.sign_in(person)
        me.page.locator("#email").fill("somebody@else.example")
        me.press("Delete account")
        expect(me.page.locator("#email-problem")).to_be_visible()
        me.page.locator("#email").fill(person.email)
        me.press("Delete account")
        expect(me.page.locator("h1")).to_have_text("Your account is deleted")
        me.go("login")
        me.sign_in(person)
        expect(me.page.get_by_role("alert").filter(has_text="do not match")).to_be_visible()

    def test_a_device_is_connected_by_its_code(
        self, visit: Callable[..., Visitor], server: Server, people: Callable[[], Person]
    ) -> None:
        me = visit()
        body = {"client_id": "echo-cli", "scope": "openid read"}
        begun = httpx.post(f"{server.url}/identity/device_authorization", data=body, timeout=60).json()
        me.go("device")
        me.sign_in(people())
        me.page.locator("#user_code").fill("BCDF-GHJK")
        me.press("Continue")
        expect(me.page.locator("#user_code-problem")).to_be_visible()
        me.page.locator("#user_code").fill(begun["user_code"].lower().replace("-", " "))
        me.press("Continue")
        expect(me.page.locator("h1")).to_have_text("Connect Echo command line?")
        expect(me.page.locator(".codes")).to_have_text(begun["user_code"])
        me.press("Connect")
        expect(me.page.locator("h1")).to_have_text("Your device is connected")
        asked = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": begun["device_code"],
            "client_id": "echo-cli",
        }
        answer = httpx.post(f"{server.url}/identity/token", data=asked, timeout=60)
        assert answer.status_code == 200, answer.text


def invite(server: Server, email: str, *, is_mailed: bool) -> str:
    """Invite an address into the default organisation and return the secret of the link that is handed on."""
    secret, invitation_id = secrets.token_urlsafe(32), uuid7()
    with as_owner(server) as db:
        (organization,) = db.execute("select id from organizations order by created_at limit 1").fetchone() or (None,)
        db.execute(
            "insert into invitations (organization_id, id, email, role, expires_at)"
            " values (%s, %s, %s, 'member', now() + interval '7 days')",
            (organization, invitation_id, email),
        )
        db.execute(
            "insert into invitation_tokens (organization_id, invitation_id, secret_sha256) values (%s, %s, %s)",
            (organization, invitation_id, hashlib.sha256(secret.encode()).digest()),
        )
        if is_mailed:
            db.execute(
                "insert into invitation_mails (organization_id, id, invitation_id) values (%s, %s, %s)",
                (organization, uuid7(), invitation_id),
            )
    return secret


def is_member(server: Server, email: str) -> bool:
    with as_owner(server) as db:
        found = db.execute(
            "select 1 from organization_members m join users u on u.id = m.user_id where u.email = %s", (email,)
        )
        return found.fetchone() is not None


class TestInvitations:
    def test_a_link_that_was_handed_on_sends_a_mail_first(self, visit: Callable[..., Visitor], server: Server) -> None:
        me, email = visit(), "handed-on@people.example"
        me.go(f"invitation?token={invite(server, email, is_mailed=False)}")
        expect(me.page.get_by_text("we send a link to this address")).to_be_visible()
        me.press("Send link")
        assert not is_member(server, email)
        me.open_mail("Confirm", email)
        me.page.locator("#password").fill("velvet-Orchard-19-tide")
        me.press("Create account")
        me.page.wait_for_url("**/identity/account")
        assert is_member(server, email)

    def test_a_mailed_link_makes_the_account_at_once(self, visit: Callable[..., Visitor], server: Server) -> None:
        me, email = visit(), "mailed@people.example"
        invite(server, email, is_mailed=True)
        me.go("outbox")
        eventually(lambda: me.go("outbox").get_by_text(email).count(), what="the invitation's mail")
        me.page.locator("article").filter(has_text=email).get_by_role("link", name="Open link").first.click()
        me.page.locator("#name").fill("Grace")
        me.page.locator("#password").fill("velvet-Orchard-19-tide")
        me.press("Accept invitation")
        me.page.wait_for_url("**/identity/account")
        assert is_member(server, email)

    def test_who_is_signed_in_as_somebody_else_is_asked_to_change(
        self, visit: Callable[..., Visitor], server: Server, people: Callable[[], Person]
    ) -> None:
        me, other, invited = visit(), people(), people()
        with as_owner(server) as db:
            db.execute("delete from organization_members where user_id = %s", (invited.id,))
        link = f"invitation?token={invite(server, invited.email, is_mailed=False)}"
        me.go("login")
        me.sign_in(other)
        me.page.wait_for_url("**/identity/account")
        me.go(link)
        expect(me.page.get_by_text(f"You are signed in as {other.email}")).to_be_visible()
        me.press("Sign out")
        me.page.get_by_role("link", name="Sign in").click()
        me.sign_in(invited)
        me.press("Accept invitation")
        expect(me.page.locator("h1")).to_have_text("You are a member now")
        assert is_member(server, invited.email)
