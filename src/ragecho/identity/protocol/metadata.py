"""The discovery document (OpenID Connect Discovery 1.0, RFC 8414)."""

from typing import Any

from ragecho.identity.client_model import GrantType
from ragecho.identity.protocol.acr import ACR_VALUES
from ragecho.identity.protocol.assertions import ASSERTION_ALGORITHMS
from ragecho.identity.protocol.authorization_request import RESPONSE_MODES
from ragecho.identity.protocol.grants import AUTH_METHODS
from ragecho.identity.protocol.keys import ALGORITHMS
from ragecho.identity.protocol.provider import Provider
from ragecho.identity.protocol.tokens import PERSON_CLAIMS
from ragecho.identity.scopes import API_SCOPES, IDENTITY_SCOPES


def metadata_of(provider: Provider) -> dict[str, Any]:
    """Return what clients configure themselves with."""
    issuer = provider.issuer
    registration = {"registration_endpoint": f"{issuer}/register"} if provider.allows_registration else {}
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": provider.userinfo,
        "jwks_uri": f"{issuer}/jwks.json",
        "introspection_endpoint": f"{issuer}/introspect",
        "revocation_endpoint": f"{issuer}/revoke",
        "end_session_endpoint": f"{issuer}/logout",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        **registration,
        "scopes_supported": [*IDENTITY_SCOPES, *API_SCOPES],
        "response_types_supported": ["code"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": [str(grant) for grant in GrantType],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": [name for name in AUTH_METHODS if name != "none"],
        "introspection_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "prompt_values_supported": ["none", "login", "consent", "select_account", "create"],
        "claim_types_supported": ["normal"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash", *PERSON_CLAIMS,
        ],
        "acr_values_supported": list(ACR_VALUES),
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "require_request_uri_registration": False,
        "require_pushed_authorization_requests": False,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "frontchannel_logout_supported": False,
        "ui_locales_supported": ["en", "de"],
        "service_documentation": issuer.removesuffix("/identity") + "/docs",
    }  # fmt: skip
