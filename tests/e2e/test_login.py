"""`ragecho login` against the real server: the code is typed in a browser, and the commands act as that person."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.conftest import Server, clean_environment
from tests.e2e.identity_driver import Browser, Person, as_owner, forms_of, make_people


@pytest.fixture
def person(server: Server) -> Person:
    return make_people(server, role="admin")[0]


@pytest.fixture
def browser(server: Server) -> Iterator[Browser]:
    made = Browser(server)
    yield made
    made.close()


@dataclass
class Terminal:
    """A shell in which nobody is signed in yet."""

    server: Server
    logins: Path

    @property
    def environment(self) -> dict[str, str]:
        place = {"RAGECHO_LOGIN_DIR": str(self.logins), "RAGECHO_SERVER": self.server.url}
        return clean_environment(self.server.data_dir) | place

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ragecho", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def stored(self) -> dict[str, object]:
        (file,) = self.logins.glob("*.json")
        return dict(json.loads(file.read_text()))


@pytest.fixture
def terminal(server: Server, tmp_path: Path) -> Terminal:
    return Terminal(server, tmp_path / "logins")


def sign_in(terminal: Terminal, browser: Browser, person: Person, *, decision: str = "allow") -> tuple[int, str, str]:
    """Run `ragecho login`, decide in the browser, and return exit code, output and messages."""
    with subprocess.Popen(
        [sys.executable, "-m", "ragecho", "login", "--no-browser"],
        env=terminal.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said: list[str] = []
        shown = threading.Event()

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if "enter the code" in line:
                    shown.set()
            shown.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert shown.wait(60)
        text = "".join(said)
        code = re.search(r"enter the code (\S+)", text)
        address = re.search(r"Open (\S+)", text)
        assert code, text
        assert address, text
        decide(browser, person, address[1], code[1], decision)
        assert process.stdout is not None
        out = process.stdout.read()
        process.wait(60)
        reader.join(10)
        return process.returncode, out, "".join(said)


def decide(browser: Browser, person: Person, address: str, code: str, decision: str) -> None:
    page = browser.visit(address)
    for _ in range(6):
        forms = forms_of(page)
        typing = next(
            (form for form in forms if "user_code" in form.types and form.types["user_code"] != "hidden"), None
        )
        login = next((form for form in forms if form.with_password()), None)
        buttons = next((form for form in forms if any(value == decision for _, value in form.buttons)), None)
        if login is not None:
            page = browser.submit(page, login, email=person.email, password=person.password)
        elif buttons is not None:
            page = browser.submit(page, buttons, button=decision)
            return
        elif typing is not None:
            page = browser.submit(page, typing, user_code=code)
        else:
            raise AssertionError(page.text)


def test_a_person_signs_in_works_and_signs_out(terminal: Terminal, browser: Browser, person: Person) -> None:
    code, out, said = sign_in(terminal, browser, person)
    assert code == 0, said
    assert out == f"Signed in to {terminal.server.url} as {person.email}.\n"
    shown = terminal.run("whoami")
    assert shown.returncode == 0, shown.stderr
    assert person.email in shown.stdout
    assert "default (admin)" in shown.stdout
    listed = terminal.run("workspaces", "ls", "--json")
    assert listed.returncode == 0, listed.stderr
    token = terminal.stored()
    assert str(token["access_token"]) not in out + said + "".join(terminal.server.log)
    assert terminal.run("logout").returncode == 0
    assert terminal.run("whoami").returncode == 1
    with terminal.server.client(str(token["access_token"])) as http:
        assert http.get("/auth/me").status_code == 401  # its grant was ended on the server


def test_a_refusal_in_the_browser_ends_the_command(terminal: Terminal, browser: Browser, person: Person) -> None:
    code, _, said = sign_in(terminal, browser, person, decision="deny")
    assert code == 1
    assert "refused in the browser" in said


def test_the_token_is_renewed_when_it_ends(terminal: Terminal, browser: Browser, person: Person) -> None:
    sign_in(terminal, browser, person)
    before = terminal.stored()
    (file,) = terminal.logins.glob("*.json")
    file.write_text(json.dumps(before | {"expires_at": 0}))
    shown = terminal.run("whoami")
    assert shown.returncode == 0, shown.stderr
    after = terminal.stored()
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]


def test_a_suspended_person_s_commands_stop_at_once(terminal: Terminal, browser: Browser, person: Person) -> None:
    sign_in(terminal, browser, person)
    with as_owner(terminal.server) as db:
        db.execute("update users set is_disabled = true where id = %s", (person.id,))
    shown = terminal.run("whoami")
    assert shown.returncode == 1
    assert "ragecho login" in shown.stderr
