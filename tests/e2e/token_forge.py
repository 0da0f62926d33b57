"""Makes access tokens with the server's own key, so that each test changes one thing about a token that is else good."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import UUID

from joserfc.jwk import ECKey, KeyParameters, RSAKey
from joserfc.jws import JWSRegistry
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import as_owner

from ragecho.identity.settings import IdentitySettings
from ragecho.identity.vault import open_vault
from ragecho.platform.settings import Settings


def signing_key(server: Server, *, status: str = "current", alg: str = "ES256") -> ECKey | RSAKey:
    """Return a private signing key, opened as the service does: with the master key in the data directory."""
    with as_owner(server) as db:
        row = db.execute(
            "select kid, private_vault from identity_signing_keys where status = %s and alg = %s", (status, alg)
        ).fetchone()
    assert row is not None
    vault = open_vault(Settings(data_dir=server.data_dir), IdentitySettings())
    pem = vault.decrypt(str(row[1]), purpose="signing-key")
    parameters: KeyParameters = {"kid": str(row[0]), "alg": alg, "use": "sig"}
    return ECKey.import_key(pem, parameters) if alg == "ES256" else RSAKey.import_key(pem, parameters)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a JWT, unverified."""
    header, claims, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims))  # type: ignore[return-value]  # two of them


def forge(
    key: ECKey | RSAKey | bytes,
    like: str,
    *,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
) -> str:
    """Sign a token that differs from `like` in these members only; None removes one. Bytes are a secret of HS256.

    Put together by hand: a proper library refuses to write most of what is tried here.
    """
    old_header, old_claims = parts(like)
    new_header = {name: value for name, value in (old_header | (header or {})).items() if value is not None}
    new_claims = {name: value for name, value in (old_claims | (claims or {})).items() if value is not None}
    signed = f"{_encode(new_header)}.{_encode(new_claims)}"
    if isinstance(key, bytes):
        signature = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    else:
        signature = JWSRegistry.algorithms["ES256" if isinstance(key, ECKey) else "RS256"].sign(signed.encode(), key)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def unsigned(like: str, alg: str = "none") -> str:
    """Return the token without a signature."""
    header, claims = parts(like)
    made = [_encode(header | {"alg": alg}), _encode(claims)]
    return ".".join([*made, ""])


def _encode(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def in_seconds(seconds: int) -> int:
    """Return a NumericDate."""
    return int(time.time()) + seconds


def random_id() -> str:
    from ragecho.kernel.ids import uuid7

    made: UUID = uuid7()
    return str(made)
