"""Access tokens as the provider issues them, signed with a key of the tests' own that the database publishes."""

import time
from uuid import UUID, uuid4

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import create_engine, text
from tests.db.conftest import Tenant

from ragecho.identity.settings import audience_of, issuer_of
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import driver_url
from ragecho.platform.settings import Settings


class Issuer:
    """Grants and tokens for people and programs of a tenant. Its key is published before the application looks."""

    def __init__(self, owner_url: str) -> None:
        self._owner_url = owner_url
        self._settings = Settings(_env_file=None)
        self._key = ECKey.generate_key("P-256", {"kid": f"test-{uuid4()}", "alg": "ES256", "use": "sig"})
        self.run(
            "insert into identity_signing_keys (kid, alg, status, public_jwk, private_vault, expires_at)"
            " values (:kid, 'ES256', 'previous', cast(:jwk as jsonb), 'none', now() + interval '1 hour')",
            kid=self._key.kid,
            jwk=orjson.dumps(self._key.as_dict(private=False)).decode(),
        )

    def run(self, statement: str, **parameters: object) -> None:
        """Run a statement as the owner of the database."""
        engine = create_engine(driver_url(self._owner_url))
        with engine.begin() as connection:
            connection.execute(text(statement), parameters)
        engine.dispose()

    def client(self, tenant: Tenant) -> str:
        """Add a client that may act for itself in the tenant's workspace."""
        client_id = f"client-{uuid7()}"
        self.run(
            "insert into identity_clients (id, name, kind, auth_method, grant_types, scopes, organization_id, workspace_id)"
            " values (:id, 'app', 'managed', 'none', '{}', '{}', :organization, :workspace)",
            id=client_id,
            organization=tenant.organization_id,
            workspace=tenant.workspace_id,
        )
        return client_id

    def grant(self, user_id: UserId, client_id: str) -> UUID:
        """Add a person's grant to a client."""
        grant_id = uuid7()
        self.run(
            "insert into identity_grants (id, client_id, user_id, scopes, auth_time, expires_at)"
            " values (:id, :client, :user, '{}', now(), now() + interval '1 hour')",
            id=grant_id,
            client=client_id,
            user=user_id,
        )
        return grant_id

    def token(
        self,
        scope: str,
        client_id: str,
        *,
        user_id: UserId | None = None,
        grant_id: UUID | None = None,
        seconds: int = 600,
    ) -> str:
        """Return a token for a person's grant, or for the client itself."""
        now = int(time.time())
        claims = {
            "iss": issuer_of(self._settings),
            "aud": audience_of(self._settings),
            "sub": str(user_id or client_id),
            "client_id": client_id,
            "scope": scope,
            "jti": str(uuid4()),
            "iat": now - 60,
            "exp": now + seconds,
            **({"gid": str(grant_id)} if grant_id else {}),
        }
        return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": self._key.kid}, claims, self._key)

    def for_person(self, tenant: Tenant, user_id: UserId, scope: str = "read write admin") -> str:
        """Return a token of a new grant of this person."""
        client_id = self.client(tenant)
        return self.token(scope, client_id, user_id=user_id, grant_id=self.grant(user_id, client_id))
