"""What can go wrong with a sign-in, besides the errors that all features share."""

from ragecho.kernel.errors import EchoError, Unavailable


class SignInFailed(EchoError):
    """The sign-in did not lead to a session. The message is for the person; `return_to` is where they wanted to go."""

    code = "sign_in_failed"

    def __init__(self, message: str, *, return_to: str = "/app/") -> None:
        super().__init__(message)
        self.return_to = return_to


class TokenRefused(EchoError):
    """The identity service does not stand by a token, or a token is not what it should be."""

    code = "token_refused"


class ProviderAway(Unavailable):
    """The identity service does not answer."""
