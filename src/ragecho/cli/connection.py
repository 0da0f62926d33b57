"""How the client commands reach a server: the client they make, the lines for its failures."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from ragecho.cli.errors import BadUse, CliError

if TYPE_CHECKING:
    from ragecho_sdk import Echo, EchoAPIError

MAKE_A_KEY = "ragecho admin api-key create --workspace default --scopes read,write"


def connect(server: str | None, api_key: str | None, workspace: str | None) -> "Echo":
    """Return a client: with the key of the options or settings, else as who signed in with `ragecho login`.

    Raises `CliError` that says how to get either.
    """
    # Imported here: completion and help of a client command need neither.
    from ragecho.cli.settings import ClientSettings, load_settings
    from ragecho_sdk import Echo

    settings = load_settings(ClientSettings, server=server, api_key=api_key, workspace=workspace)
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if not key:
        return signed_in_client(_checked(settings.server), settings.workspace or None)
    try:
        return Echo(settings.server, api_key=key, workspace=settings.workspace or None)
    except ValueError as error:
        raise BadUse(f"RAGECHO_SERVER or --server: {error}") from None


def signed_in_client(server: str, workspace: str | None = None) -> "Echo":
    """Return a client as who is signed in to the server. Raises `CliError` when nobody is."""
    from ragecho.cli import logins
    from ragecho_sdk import Echo

    login = logins.load(server)
    if login is None:
        raise CliError(
            f"nobody is signed in to {server}: sign in with `ragecho login`,"
            f" or set RAGECHO_API_KEY to a key made by `{MAKE_A_KEY}`."
        )
    return Echo(server, workspace=workspace, auth=logins.StoredLogin(login))


def server_of(server: str | None) -> str:
    """Return the address of the server that the option or the settings name. Raises `BadUse`."""
    from ragecho.cli.settings import ClientSettings, load_settings

    return _checked(load_settings(ClientSettings, server=server).server)


def _checked(server: str) -> str:
    from ragecho_sdk.transport import check_server

    try:
        return check_server(server)
    except ValueError as error:
        raise BadUse(f"RAGECHO_SERVER or --server: {error}") from None


def explain(error: Exception) -> str | None:
    """Return the line for a failure of the client, or None for other errors."""
    from ragecho_sdk import EchoAPIError, EchoConnectionError, EchoError

    if isinstance(error, EchoAPIError):
        return _explain_refusal(error)
    if isinstance(error, EchoConnectionError):
        return f"{error} Start one with `ragecho serve`, or name another with RAGECHO_SERVER."
    return str(error) if isinstance(error, EchoError) else None


def _explain_refusal(error: "EchoAPIError") -> str:
    if error.status == HTTPStatus.UNAUTHORIZED:
        return (
            f"the server does not accept the API key: make one with `{MAKE_A_KEY}` and set RAGECHO_API_KEY,"
            " or sign in with `ragecho login`."
        )
    if error.status == HTTPStatus.FORBIDDEN:
        return f"{error.detail} Keys are made with `ragecho admin api-key create --scopes …`."
    if error.code == "validation_error":
        return error.detail.removeprefix("query.").removeprefix("path.").removeprefix("body.")
    if error.status == HTTPStatus.TOO_MANY_REQUESTS and error.retry_after_seconds is not None:
        return f"{error.detail} Try again in {error.retry_after_seconds:.0f} seconds."
    is_theirs = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    request = f", request {error.request_id}" if error.request_id and is_theirs else ""
    return f"{error.detail} ({error.code}{request})"
