"""The provider over a real database, called in this process, with people who are already signed in."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from ragecho.identity import clients
from ragecho.identity.accounts.sessions import start_session
from ragecho.identity.api import IdentityServices, build_identity_routers, build_identity_services
from ragecho.identity.client_model import Client
from ragecho.identity.preparation import prepare_identity
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import IDENTITY_ROLE, Database
from ragecho.platform.settings import Settings

BASE = "http://127.0.0.1:8000"
REDIRECT_URI = "https://rp.example/callback"
COOKIE = "echo_identity"


@dataclass
class Party:
    """A client, with its secret where it has one."""

    world: "World"
    client: Client
    secret: str | None

    @property
    def auth(self) -> tuple[str, str] | None:
        return (self.client.id, self.secret) if self.secret else None

    async def post(self, path: str, data: Mapping[str, str]) -> httpx.Response:
        named = dict(data) if self.secret else {"client_id": self.client.id, **data}
        async with self.world.http() as http:
            return await http.post(f"/identity/{path}", data=named, auth=self.auth)  # type: ignore[arg-type]  # None is none

    def request(self, **changes: str | None) -> tuple[dict[str, str], str]:
        """Return the parameters of an authorization request and its PKCE verifier."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client.id,
            "redirect_uri": REDIRECT_URI,
            "scope": "openid offline_access read",
            "state": "st",
            "nonce": "n",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not None}, verifier

    async def code(self, person: "Person", **changes: str | None) -> dict[str, str]:
        """Return the form that redeems a fresh code of a person who has allowed everything."""
        asked, verifier = self.request(**changes)
        await self.world.allow(person, self, asked["scope"])
        answer = await self.world.authorize(asked, person)
        back = answer_of(answer)
        assert "code" in back, answer.headers.get("location", answer.text)
        return {
            "grant_type": "authorization_code",
            "code": back["code"],
            "redirect_uri": REDIRECT_URI,
            "code_verifier": verifier,
        }

    async def sign_in(self, person: "Person", **changes: str | None) -> dict[str, Any]:
        answer = await self.post("token", await self.code(person, **changes))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def refresh(self, token: str) -> httpx.Response:
        return await self.post("token", {"grant_type": "refresh_token", "refresh_token": token})


@dataclass
class Person:
    """Somebody with a browser session."""

    id: UserId
    session_id: UUID
    cookies: dict[str, str] = field(default_factory=dict)


@dataclass
class World:
    """The provider."""

    services: IdentityServices
    app: FastAPI

    def http(self, cookies: Mapping[str, str] | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url=BASE, cookies=dict(cookies or {}))

    async def person(self) -> Person:
        user_id = UserId(uuid7())
        async with self.services.database.anonymous() as db:
            await db.execute(
                text("insert into users (id, email, email_verified_at) values (:id, :email, now())"),
                {"id": user_id, "email": f"{user_id}@people.example"},
            )
        return await self.again(Person(user_id, UUID(int=0)))

    async def again(self, person: Person) -> Person:
        """Return the person signed in anew, in the same browser."""
        async with self.services.database.anonymous() as db:
            session, secret = await start_session(db, person.id, amr=("pwd",), user_agent=None, ip=None)
        return Person(person.id, session.id, {**person.cookies, COOKIE: secret})

    async def client(self, *, is_public: bool = False, **values: Any) -> Party:
        async with self.services.database.anonymous() as db:
            made = await clients.create_client(
                db, name="App", redirect_uris=[REDIRECT_URI], is_public=is_public, **values
            )
        return Party(self, made.client, made.secret)

    async def allow(self, person: Person, party: Party, scopes: str) -> None:
        async with self.services.database.anonymous() as db:
            await db.execute(
                text(
                    "insert into identity_consents (user_id, client_id, scopes) values (:user, :client, :scopes)"
                    " on conflict (user_id, client_id) do update set scopes = excluded.scopes"
                ),
                {"user": person.id, "client": party.client.id, "scopes": scopes.split()},
            )

    async def authorize(self, asked: Mapping[str, str], person: Person | None = None) -> httpx.Response:
        async with self.http(person.cookies if person else None) as http:
            answer = await http.get("/identity/authorize", params=dict(asked))
            if person is not None:
                person.cookies.update({cookie.name: str(cookie.value) for cookie in http.cookies.jar})
            return answer

    async def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        async with self.services.database.anonymous() as db:
            return [dict(row) for row in (await db.execute(text(statement), parameters)).mappings()]

    async def run(self, statement: str, **parameters: object) -> None:
        async with self.services.database.anonymous() as db:
            await db.execute(text(statement), parameters)


@asynccontextmanager
async def provider(owner_url: str, data_dir: Path, **settings: Any) -> AsyncIterator[World]:
    """Run the identity service over the database."""
    database = Database(owner_url, role=IDENTITY_ROLE, pool_size=10)
    chosen = Settings(data_dir=data_dir, **settings)
    await prepare_identity(database, chosen)
    services = build_identity_services(chosen, database)
    app = FastAPI()
    for router in build_identity_routers(services):
        app.include_router(router)
    try:
        yield World(services, app)
    finally:
        await database.close()


def answer_of(response: httpx.Response) -> dict[str, str]:
    """Return the parameters of a redirect to the client."""
    location = response.headers.get("location", "")
    assert location.startswith(REDIRECT_URI), location
    return dict(parse_qsl(urlsplit(location).query))


async def at_once(*calls: Any) -> list[httpx.Response]:
    """Await all calls together."""
    return list(await asyncio.gather(*calls))
