"""Pushed authorization requests (RFC 9126), which Authlib's core lacks."""

import secrets

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError

from ragecho.identity.client_model import Client, digest_of
from ragecho.identity.protocol import store_grants
from ragecho.identity.protocol.authorization_request import RefusedError, UnanswerableError, check_request
from ragecho.identity.protocol.authorize import REQUEST_URI_PREFIX
from ragecho.identity.protocol.grants import AUTH_METHODS
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import ProtocolRequest
from ragecho.identity.protocol.server import ProtocolServer, Reply, error_reply
from ragecho.platform.bridge import run

_CREDENTIALS = frozenset({"client_secret", "client_assertion", "client_assertion_type", "is_redirect_uri_given"})


async def push(work: Work, request: ProtocolRequest) -> Reply:
    """Check and keep an authorization request; the client gets a reference that works once."""
    try:
        client: Client = await run(ProtocolServer(work).authenticate_client, request, AUTH_METHODS, "par")
        named = request.args.get("client_id")
        if named is not None and named != client.id:
            raise InvalidRequestError("client_id is not the client that authenticated.")
        if "request_uri" in request.args:
            raise InvalidRequestError("A pushed request has no request_uri.")
        parameters = {name: value for name, value in request.args.items() if name not in _CREDENTIALS}
        parameters["client_id"] = client.id
        await check_request(work, parameters)
    except OAuth2Error as error:
        return error_reply(error)
    except (UnanswerableError, RefusedError) as error:
        return Reply(400, {"error": error.error, "error_description": error.description}, NO_STORE)
    reference = f"{REQUEST_URI_PREFIX}{secrets.token_urlsafe(32)}"
    seconds = work.provider.settings.pushed_request_seconds
    await store_grants.insert_pushed_request(
        work.db, digest_of(reference), client_id=client.id, parameters=parameters, seconds=seconds
    )
    return Reply(201, {"request_uri": reference, "expires_in": seconds}, NO_STORE)


NO_STORE = (("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("Pragma", "no-cache"))
