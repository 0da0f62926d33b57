"""`ragecho db …`: migrations, on the embedded database or an external one."""

from ragecho.platform.database.migrate import current_revision
from ragecho.platform.settings import Settings
from ragecho.roles.local import local_database
from ragecho.roles.prepare import prepare


def upgrade(settings: Settings) -> str:
    """Apply what is missing and return the revision reached."""
    with local_database(settings) as urls:
        return prepare(settings, urls.owner, is_embedded=urls.is_embedded)


def current(settings: Settings) -> str:
    """Return where the database stands, in words."""
    with local_database(settings) as urls:
        revision, head = current_revision(urls.owner)
    if revision is None:
        return f"empty (this version needs {head}; run 'ragecho db upgrade')"
    return revision if revision == head else f"{revision} (this version needs {head}; run 'ragecho db upgrade')"
