"""How long signing in takes: `python -m benchmarks.sign_in [--rounds 30]`.

From sending the login page's form to the app's page with a session, over real HTTP and one kept connection, as a browser does
it: password, code, tokens, session, page. Reported with and without the password hash, which is slow on purpose.
"""

import argparse
import html
import os
import re
import secrets
import statistics
import subprocess
import sys
import time
from urllib.parse import urljoin

import httpx
from argon2 import PasswordHasher, Type

from benchmarks.harness import Server, scratch, serving, show, write_report

_INPUT = re.compile(r"<input\b[^>]*>")
_FORM = re.compile(r"<form\b[^>]*>.*?</form>", re.DOTALL)


def make_person(server: Server) -> tuple[str, str]:
    """Make an administrator as an operator does; return address and password."""
    email, password = "ada@people.example", secrets.token_urlsafe(18)
    subprocess.run(
        [sys.executable, "-m", "ragecho", "admin", "create", "--email", email, "--password-stdin"],
        env=os.environ | {"RAGECHO_DATA_DIR": str(server.data_dir)},
        input=f"{password}\n",
        text=True,
        check=True,
        capture_output=True,
    )
    return email, password


def hash_ms() -> float:
    """Return what checking a password costs here, with the product's own parameters."""
    hasher = PasswordHasher(type=Type.ID)  # as in accounts/passwords.py
    hashed = hasher.hash("a password to check")
    times = []
    for _ in range(10):
        started = time.perf_counter()
        hasher.verify(hashed, "a password to check")
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def attributes(tag: str) -> dict[str, str]:
    """Return a tag's attributes."""
    return {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}


def login_form(page: httpx.Response) -> tuple[str, dict[str, str]]:
    """Return where the form with the password goes and what it holds already."""
    form = next(found[0] for found in _FORM.finditer(page.text) if 'type="password"' in found[0])
    inputs = [attributes(tag) for tag in _INPUT.findall(form)]
    values = {one["name"]: one.get("value", "") for one in inputs if "name" in one}
    return urljoin(str(page.url), attributes(form[: form.index(">") + 1])["action"]), values


def sign_in(url: str, email: str, password: str) -> tuple[float, float]:
    """Sign in once; return milliseconds until the login page stood there, and from its form to the app's page."""
    with httpx.Client(base_url=url, follow_redirects=True, timeout=60) as http:
        http.get("/health")  # the connection
        started = time.perf_counter()
        page = http.get("/auth/login")
        shown = time.perf_counter()
        action, values = login_form(page)
        sent = time.perf_counter()
        app = http.post(action, data=values | {"email": email, "password": password}, headers={"Origin": url})
        done = time.perf_counter()
        if email not in app.text:
            raise RuntimeError(f"not signed in: {app.status_code} {app.url}")
        return (shown - started) * 1000, (done - sent) * 1000


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    with scratch() as folder, serving(folder) as server:
        person = make_person(server)
        sign_in(server.url, *person)  # warm up
        times = [sign_in(server.url, *person) for _ in range(rounds)]
        hashing = hash_ms()
    session = sorted(total for _, total in times)
    row = {
        "rounds": rounds,
        "login_page_p50_ms": round(statistics.median(shown for shown, _ in times), 1),
        "session_p50_ms": round(statistics.median(session), 1),
        "session_p95_ms": round(session[int(len(session) * 0.95)], 1),
        "password_hash_ms": round(hashing, 1),
        "beyond_the_hash_p50_ms": round(statistics.median(session) - hashing, 1),
        "beyond_the_hash_p95_ms": round(session[int(len(session) * 0.95)] - hashing, 1),
    }
    show("Login page to session", [row])
    write_report("sign_in", row)


if __name__ == "__main__":
    main()
