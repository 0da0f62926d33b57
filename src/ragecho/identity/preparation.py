"""What the identity service needs to exist before it serves. Apart from its routes: a command imports no web framework."""

from ragecho.identity import clients
from ragecho.identity.protocol.keys import ensure_keys
from ragecho.identity.settings import IdentitySettings
from ragecho.identity.vault import open_vault
from ragecho.platform.database import Database
from ragecho.platform.settings import Settings


async def prepare_identity(database: Database, settings: Settings) -> None:
    """Make signing keys and Echo's own clients exist. Safe to repeat, from many processes at once."""
    identity = IdentitySettings()
    vault = open_vault(settings, identity)
    async with database.anonymous() as db:
        await ensure_keys(db, vault, rotation_days=identity.key_rotation_days)
        await clients.ensure_first_party_clients(db, settings, vault)
