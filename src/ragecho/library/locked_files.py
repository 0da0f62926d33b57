"""Passwords of locked files: sealed when they are given, opened whenever the file is read again."""

from ragecho.library.model import Version
from ragecho.platform.telemetry import get_logger
from ragecho.ports.sealer import SealBrokenError, Sealer

log = get_logger(__name__)

# What passwords of files are sealed for.
FILE_PASSWORD = "ragecho.ingest.password"  # noqa: S105 - a purpose, not a password


def passwords_of(version: Version, sealer: Sealer | None, *, given: str | None = None) -> tuple[str, ...]:
    """Return the password that was `given` (sealed) or opened the version before; none without one.

    Where it cannot be opened there is none either: the file fails as one without a password does, and a line in the log
    says why to who runs Echo.
    """
    sealed = given or version.sealed
    if sealed is None or sealer is None:
        return ()
    try:
        return (sealer.open(sealed, purpose=FILE_PASSWORD),)
    except SealBrokenError:
        log.warning("ingest.password_not_readable", version_id=str(version.id), setting="RAGECHO_IDENTITY_SECRET")
        return ()
