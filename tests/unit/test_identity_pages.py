"""The pages of the identity service without a server: languages, forms' tokens, policies, what may follow a sign-in."""

import re
import string
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.pages import render
from ragecho.identity.pages.cookies import Cookies
from ragecho.identity.pages.csrf import FormGuard
from ragecho.identity.pages.language import choose_language, languages
from ragecho.identity.pages.render import Pages, content_security_policy, environment, form_target
from ragecho.identity.pages.ways import Way, own_page
from ragecho.identity.pages.words import app_links, browser_of, place_of, scopes_in_words
from ragecho.kernel.authorization import RULES

KEY = b"k" * 32
FOLDER = Path(render.__file__).parent
TEMPLATES = sorted(path.name for path in (FOLDER / "templates").glob("*.html"))


def request(*, cookies: str = "", query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if cookies:
        raw.append((b"cookie", cookies.encode()))
    return Request(
        {"type": "http", "method": "GET", "path": "/identity/login", "query_string": query.encode(), "headers": raw}
    )


def pages() -> Pages:
    return Pages(FormGuard(KEY, is_https=False))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


class TestLanguages:
    def test_every_catalogue_has_the_same_texts_with_the_same_placeholders(self) -> None:
        english = languages()["en"].texts
        for tag, language in languages().items():
            own = {key: text for key, text in language.texts.items() if not key.startswith("permission.")}
            assert own.keys() == english.keys(), tag
            for key, text in own.items():
                assert placeholders(text) == placeholders(english[key]), (tag, key)

    def test_every_permission_is_told_in_every_language(self) -> None:
        german = languages()["de"].texts
        assert {f"permission.{permission}" for permission in RULES} <= german.keys()

    def test_catalogues_hold_no_markup_but_emphasis_and_isolation(self) -> None:
        for language in languages().values():
            for key, text in language.texts.items():
                assert re.sub(r"</?(strong|bdi)>", "", text).find("<") == -1, key
                # Texts stand in attributes, too.
                assert '"' not in text, key

    def test_every_text_that_a_template_names_exists(self) -> None:
        known = languages()["en"].texts
        for name in TEMPLATES:
            source = (FOLDER / "templates" / name).read_text("utf-8")
            for key in re.findall(r"""\bt\(["']([a-z_.]+)["'][,)]""", source):
                assert key in known, (name, key)
            for key in re.findall(r"""plural\(["']([a-z_.]+)["']""", source):
                assert {f"{key}.one", f"{key}.other"} <= known.keys(), (name, key)

    @pytest.mark.parametrize(
        ("wanted", "header", "tag"),
        [
            ([], "", "en"),
            ([], "de-AT,de;q=0.9,en;q=0.8", "de"),
            ([], "fr, en;q=0.2, de;q=0.7", "de"),
            (["de-CH-1996"], "en", "de"),
            (["xx", "en"], "de", "en"),
            ([], "de;q=0, en", "en"),
            ([], "de;q=banana, *;q=0.1", "en"),
            ([], "," * 5000, "en"),
        ],
    )
    def test_the_app_chooses_before_the_browser_does(self, wanted: list[str], header: str, tag: str) -> None:
        assert choose_language(wanted, header).tag == tag

    def test_values_are_escaped_and_never_formatted_again(self) -> None:
        said = languages()["en"].text("login.lead", client="<script>{client.__class__}</script>")
        assert "<script>" not in said
        assert "{client.__class__}" in said


class TestForms:
    def test_a_token_counts_for_its_browser_and_session_only(self) -> None:
        guard = FormGuard(KEY, is_https=False)
        first = request()
        token = guard.token(first, session="s1")
        cookie = f"echo_forms={first.state.forms_cookie}"
        assert guard.is_genuine(request(cookies=cookie), token, session="s1")
        assert not guard.is_genuine(request(cookies=cookie), token, session="s2")
        assert not guard.is_genuine(request(cookies=f"echo_forms={'A' * 43}"), token, session="s1")
        assert not guard.is_genuine(request(), token, session="s1")
        assert not FormGuard(b"x" * 32, is_https=False).is_genuine(request(cookies=cookie), token, session="s1")

    @pytest.mark.parametrize("given", [None, "", "A" * 43, 7, "é", ["x"]])
    def test_anything_else_is_no_token(self, given: object) -> None:
        guard = FormGuard(KEY, is_https=False)
        assert not guard.is_genuine(request(cookies=f"echo_forms={'A' * 43}"), given)

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_a_form_that_another_site_sent_is_refused_even_with_a_token(self, site: str) -> None:
        guard = FormGuard(KEY, is_https=False)
        first = request()
        token = guard.token(first)
        cookie = f"echo_forms={first.state.forms_cookie}"
        assert not guard.is_genuine(request(cookies=cookie, sec_fetch_site=site), token)
        assert guard.is_genuine(request(cookies=cookie, sec_fetch_site="same-origin"), token)

    def test_with_https_the_cookie_belongs_to_this_host_alone(self) -> None:
        secure = Pages(FormGuard(KEY, is_https=True)).error(request(), status=400, title="t", text="x")
        cookie = secure.headers["set-cookie"]
        assert cookie.startswith("__Host-echo_forms=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))


class TestPolicy:
    @pytest.mark.parametrize(
        ("redirect_uri", "source"),
        [
            ("https://app.example/cb?x=1", "https://app.example"),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1:3000"),
            ("http://[::1]:3000/cb", "http:"),
            ("com.example.app:/cb", "com.example.app:"),
            ("https://a.example;script-src *@b/", "https://b"),
            ("https://a.example;script-src */", None),
            ("https:///cb", None),
            ("javascript:alert(1)", None),
            ("data:text/html,x", None),
            ("https://app.example:port/", None),
            ("", None),
        ],
    )
    def test_forms_may_lead_to_the_apps_origin(self, redirect_uri: str, source: str | None) -> None:
        assert form_target(redirect_uri) == source

    def test_nothing_inline_nothing_foreign_no_frames(self) -> None:
        policy = content_security_policy([form_target("https://app.example/cb"), None])
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self' https://app.example" in policy
        assert "unsafe" not in policy
        assert "*" not in policy

    @pytest.mark.parametrize("name", TEMPLATES)
    def test_templates_have_no_inline_script_style_or_handler(self, name: str) -> None:
        source = (FOLDER / "templates" / name).read_text("utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son[a-z]+=|javascript:|\|\s*safe\b", source)
        environment().get_template(name)

    def test_pages_are_never_kept_and_tell_nobody_where_they_were(self) -> None:
        answer = pages().error(request(), status=400, title="<b>", text="x", details=[("error", "<script>")])
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        body = bytes(answer.body).decode()
        assert "<script>" not in body
        assert "&lt;script&gt;" in body

    def test_the_page_says_its_language(self) -> None:
        answer = pages().error(request(accept_language="de-DE"), status=400, title="t", text="x")
        assert '<html lang="de" dir="ltr">' in bytes(answer.body).decode()
        assert answer.headers["content-language"] == "de"


class TestWays:
    @pytest.mark.parametrize(
        "given",
        [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "account/../../evil",
            "device?user_code=ABCD-EFGH&x=1",
            "account\n",
            "",
            None,
            7,
        ],
    )
    def test_unknown_places_lead_to_the_account_page(self, given: object) -> None:
        assert own_page(given) == "account"

    @pytest.mark.parametrize("given", ["account/security", "device", "device?user_code=ABCD-EFGH"])
    def test_known_pages_are_kept(self, given: str) -> None:
        assert own_page(given) == given
        assert Way.of({"next": given}).page == given

    def test_an_interaction_is_an_id_or_nothing(self) -> None:
        assert Way.of({"interaction": "x'; drop table"}).interaction is None
        assert Way.of({"interaction": "9" * 400}).interaction is None
        made = Way.of({"interaction": "01a1fd0f-754e-7472-81c0-cd036f298d97"})
        assert made.suffix == "interaction=01a1fd0f-754e-7472-81c0-cd036f298d97"


class TestWords:
    def test_scopes_are_told_from_the_authorization_table(self) -> None:
        english, german = languages()["en"], languages()["de"]
        assert scopes_in_words(english, ["documents:read"]) == ["list, read and search documents"]
        assert scopes_in_words(german, ["documents:read"]) == ["Dokumente auflisten, lesen und durchsuchen"]

    def test_a_scope_that_nobody_knows_is_shown_as_it_is(self) -> None:
        (said,) = scopes_in_words(languages()["en"], ["<b>"])
        assert "&lt;b&gt;" in said

    @pytest.mark.parametrize(
        ("agent", "said"),
        [
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36", "Chrome on Linux"),
            ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/141 Safari/537.36 Edg/141", "Edge on Windows"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18 Safari/604.1", "Safari on iOS"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140) Gecko/20100101 Firefox/140.0", "Firefox on macOS"),
            ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/141 Mobile Safari/537.36", "Chrome on Android"),
            ("<script>alert(1)</script>", None),
            (None, None),
        ],
    )
    def test_browsers_are_told_by_name(self, agent: str | None, said: str | None) -> None:
        assert browser_of(languages()["en"], agent) == said

    def test_only_web_addresses_become_links(self) -> None:
        links = app_links(
            languages()["en"], about="javascript:alert(1)", privacy="https://a.example/p", terms="https://[broken"
        )
        assert links == [("Privacy", "https://a.example/p")]

    def test_people_read_where_they_are_sent_without_a_users_name_in_front(self) -> None:
        assert place_of("https://bank.example@evil.example/cb") == "evil.example"
        assert place_of("com.example.app:/cb") == "com.example.app:"


class TestCookies:
    def test_with_https_every_cookie_belongs_to_this_host_alone(self) -> None:
        answer = Response()
        cookies = Cookies(is_https=True, session_seconds=60)
        cookies.keep_ticket(answer, "ticket", seconds=5)
        cookies.keep_way(answer, Way())
        cookies.sign_in(answer, secret="session", device_secret="device")
        cookies.sign_out(answer)
        for line in answer.headers.getlist("set-cookie"):
            assert line.startswith("__Host-")
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(line.split("; "))

    def test_where_somebody_was_going_is_read_as_carefully_as_a_query(self) -> None:
        cookies = Cookies(is_https=False, session_seconds=60)
        assert cookies.way(request(cookies="echo_way=next=https://evil.example")) == Way()
        assert cookies.way(request(cookies="echo_way=next=account%2Fsecurity")) == Way(page="account/security")
