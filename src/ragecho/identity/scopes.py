"""The scopes that tokens may carry: OpenID Connect's, and those of Echo's API from the one authorization table."""

from ragecho.kernel.authorization import Permission, Scope

IDENTITY_SCOPES = ("openid", "profile", "email", "address", "phone", "offline_access")
API_SCOPES = (*(str(scope) for scope in Scope), *(str(permission) for permission in Permission))
KNOWN_SCOPES = frozenset((*IDENTITY_SCOPES, *API_SCOPES))
