"""What goes wrong with accounts, for pages to tell apart by class or code."""

from ragecho.kernel.errors import Conflict, Forbidden, InvalidInput, RateLimited, Unauthenticated


class BadCredentials(Unauthenticated):
    """E-mail address and password do not belong together; says no more, whoever exists."""

    code = "bad_credentials"


class BadCode(Unauthenticated):
    """The second factor was not right, or has been used."""

    code = "bad_code"


class ExpiredInteraction(Unauthenticated):
    """The sign-in took too long or was tried too often; it starts again with the first factor."""

    code = "sign_in_expired"


class LinkNotValid(InvalidInput):
    """The link in the mail is unknown, used or expired: one answer for all three."""

    code = "link_not_valid"


class PasswordRefused(InvalidInput):
    """The password is not good enough; `facts['reason']` is a stable word, the message is for the person."""

    code = "password_refused"


class TooManyAttempts(RateLimited):
    """Too many failed attempts from here; `facts['retry_after_seconds']` says when the next one counts."""

    code = "too_many_attempts"


class RegistrationClosed(Forbidden):
    """Nobody makes an account here without an invitation."""

    code = "registration_closed"


class AccountSuspended(Forbidden):
    """The account is suspended. Said only to who knows its password."""

    code = "account_suspended"


class ReauthenticationRequired(Forbidden):
    """The act needs a sign-in of the last minutes: show the login page and come back."""

    code = "reauthentication_required"


class OtherAddress(Forbidden):
    """The invitation is for another address than the account's."""

    code = "invitation_for_other_address"


class EmailNotVerified(Conflict):
    """The account's address has to be confirmed first."""

    code = "email_not_verified"


class AccountExists(Conflict):
    """There is an account with the address already: sign in to it. Said only to who reads that address's mail."""

    code = "account_exists"
