"""What goes wrong between us and an upstream provider."""

from enum import StrEnum

from ragecho.kernel.errors import Forbidden


class Fault(StrEnum):
    """A stable word for what failed; pages and `identity provider test` choose their text by it."""

    UNREACHABLE = "unreachable"
    DISCOVERY = "discovery"
    ISSUER_MISMATCH = "issuer_mismatch"
    INSECURE = "insecure"
    UNSUPPORTED = "unsupported"
    CLIENT_REFUSED = "client_refused"
    TOKEN_EXCHANGE = "token_exchange"  # noqa: S105 - a step's name
    ID_TOKEN = "id_token"  # noqa: S105 - a step's name
    USERINFO = "userinfo"
    DENIED = "denied"
    UPSTREAM_ERROR = "upstream_error"
    UNKNOWN_STATE = "unknown_state"
    OTHER_BROWSER = "other_browser"
    MIX_UP = "mix_up"
    PROVIDER_DISABLED = "provider_disabled"
    NO_EMAIL = "no_email"
    EMAIL_UNVERIFIED = "email_unverified"
    EMAIL_NOT_TRUSTED = "email_not_trusted"
    DOMAIN_NOT_ALLOWED = "domain_not_allowed"
    NOT_A_MEMBER = "not_a_member"
    SUSPENDED = "suspended"
    LINKED_ELSEWHERE = "linked_elsewhere"
    NOT_SIGNED_IN = "not_signed_in"


class FederationFailed(Forbidden):
    """Sign-in through a provider did not work. The message is for the person; `hint` is for whoever set the provider up.

    Pages translate it by the fact `reason`, which is the fault.
    """

    code = "federation_failed"

    def __init__(self, fault: Fault, message: str, *, hint: str = "") -> None:
        super().__init__(message, reason=str(fault))
        self.fault = fault
        self.hint = hint
