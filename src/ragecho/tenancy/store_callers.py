"""SQL of who calls. One statement each: the functions (0005_permissions.sql) look everything up before there is a caller."""

from uuid import UUID

from sqlalchemy import text

from ragecho.platform.database import Query

_OF_KEY = text("select * from ragecho_caller_of_key(:digest)")
_OF_SUBJECT = text(
    "select * from ragecho_caller_of_subject(cast(:person as uuid), cast(:client as text), cast(:grant_id as uuid),"
    " cast(:wanted as text))"
)


def of_key(digest: bytes) -> Query:
    """Return the question what the key with this digest stands for; no row when it does not count."""
    return _OF_KEY, {"digest": digest}


def of_subject(*, user_id: UUID | None, client_id: str, grant_id: UUID | None, workspace: str | None) -> Query:
    """Return the question whom a token or session stands for; one row, with `refusal` where there is nobody."""
    wanted = workspace.strip().lower() if workspace is not None else None
    return _OF_SUBJECT, {"person": user_id, "client": client_id, "grant_id": grant_id, "wanted": wanted}
