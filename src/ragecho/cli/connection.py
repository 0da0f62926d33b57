"""How the client commands reach a server: the client they make, the lines for its failures."""

from ragecho.cli.errors import BadUse, CliError
from ragecho.cli.settings import ClientSettings, load_settings
from ragecho_sdk import (
    Echo,
    EchoAPIError,
    EchoAuthenticationError,
    EchoConnectionError,
    EchoError,
    EchoPermissionError,
    EchoRateLimitError,
)

MAKE_A_KEY = "ragecho admin api-key create --workspace default --scopes read,write"


def connect(server: str | None, api_key: str | None, workspace: str | None) -> Echo:
    """Return a client from the options and the settings; raise `CliError` that says how to make a key without one."""
    settings = load_settings(ClientSettings, server=server, api_key=api_key, workspace=workspace)
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if not key:
        raise CliError(f"no API key: set RAGECHO_API_KEY to one made by `{MAKE_A_KEY}`.")
    try:
        return Echo(settings.server, api_key=key, workspace=settings.workspace or None)
    except ValueError as error:
        raise BadUse(f"RAGECHO_SERVER or --server: {error}") from None


def explain(error: Exception) -> str | None:
    """Return the line for a failure of the client, or None for other errors."""
    if isinstance(error, EchoConnectionError):
        return f"{error} Start one with `ragecho serve`, or name another with RAGECHO_SERVER."
    if isinstance(error, EchoAuthenticationError):
        return f"the server does not accept the API key: make one with `{MAKE_A_KEY}` and set RAGECHO_API_KEY."
    if isinstance(error, EchoPermissionError):
        return f"{error.detail} Keys are made with `ragecho admin api-key create --scopes …`."
    if isinstance(error, EchoRateLimitError) and error.retry_after_seconds is not None:
        return f"{error.detail} Try again in {error.retry_after_seconds:.0f} seconds."
    if isinstance(error, EchoAPIError):
        request = f", request {error.request_id}" if error.request_id and error.status >= 500 else ""  # noqa: PLR2004 - RFC 9110
        return f"{error.detail} ({error.code}{request})"
    return str(error) if isinstance(error, EchoError) else None
