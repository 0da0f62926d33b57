"""Small secrets that must be read back (signing keys, TOTP seeds, upstream client secrets), encrypted at rest.

Encryption is JWE with direct use of a 256-bit key (`dir`, `A256GCM`; RFC 7516, joserfc). Keys for each purpose come from
one master secret by HKDF (RFC 5869), so that nothing encrypted for one purpose is accepted for another.
"""

import base64
import hmac
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path

from ragecho.identity.settings import IdentitySettings
from ragecho.kernel.errors import ConfigurationError
from ragecho.platform.settings import Settings

MIN_CHARACTERS = 32
# Of 32 random hexadecimal digits fewer than eight differ less than once in ten million times.
_MIN_DIFFERENT = 8
_EXAMPLE = re.compile(r"change.?me|example|placeholder|your[-_ ]", re.IGNORECASE)
KEY_FILE = "identity.key"
_HEADER = {"alg": "dir", "enc": "A256GCM"}


class VaultError(Exception):
    """What was stored cannot be decrypted with this master secret for this purpose. Carries no content."""


class Vault:
    """Encrypts and decrypts with keys derived from `master`."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def key(self, purpose: str) -> bytes:
        """Return the 32-byte key of a purpose."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), 32, salt=b"ragecho.identity", info=purpose.encode()).derive(self._master)

    def encrypt(self, plaintext: str | bytes, *, purpose: str) -> str:
        """Return a compact JWE."""
        from joserfc import jwe
        from joserfc.jwk import OctKey

        content = plaintext.encode() if isinstance(plaintext, str) else plaintext
        return jwe.encrypt_compact(dict(_HEADER), content, OctKey.import_key(self.key(purpose)), list(_HEADER.values()))

    def decrypt(self, token: str, *, purpose: str) -> bytes:
        """Return what `encrypt` was given. Raises `VaultError`."""
        from joserfc import jwe
        from joserfc.errors import JoseError
        from joserfc.jwk import OctKey

        try:
            opened = jwe.decrypt_compact(token, OctKey.import_key(self.key(purpose)), list(_HEADER.values()))
        except (JoseError, ValueError):
            # Without the cause: it may quote what could not be read.
            raise VaultError(
                "A stored secret cannot be decrypted: is RAGECHO_IDENTITY_SECRET the one it was made with?"
            ) from None
        return opened.plaintext or b""

    def derive(self, purpose: str, value: str) -> str:
        """Return 43 URL-safe characters that only we can make from `value`: HMAC-SHA256 (RFC 2104)."""
        made = hmac.new(self.key(purpose), value.encode("utf-8", "surrogatepass"), sha256).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def open_vault(settings: Settings, identity: IdentitySettings) -> Vault:
    """Return the vault of this installation; makes DATA_DIR/identity.key where no secret is set.

    Raises `ConfigurationError` where the secret is short or an example, or the file cannot be read.
    """
    if identity.secret is not None and identity.secret.get_secret_value():
        given = identity.secret.get_secret_value()
        if len(given) < MIN_CHARACTERS:
            raise ConfigurationError(f"RAGECHO_IDENTITY_SECRET is too short: at least {MIN_CHARACTERS} characters.")
        if len(set(given)) < _MIN_DIFFERENT or _EXAMPLE.search(given):
            raise ConfigurationError(
                "RAGECHO_IDENTITY_SECRET looks like an example; make a random one: openssl rand -base64 48"
            )
        return Vault(given.encode())
    path = settings.data_dir / KEY_FILE
    try:
        _make_once(path)
        content = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"The master key of the identity service cannot be read: {error.strerror}"
            f" (RAGECHO_DATA_DIR/{KEY_FILE}, or set RAGECHO_IDENTITY_SECRET)."
        ) from error
    if len(content) < MIN_CHARACTERS:
        raise ConfigurationError(f"RAGECHO_DATA_DIR/{KEY_FILE} is damaged: restore it from a backup.")
    return Vault(content)


def _make_once(path: Path) -> None:
    """Make the file, readable by its owner only; of several processes that start at once, one makes it for all."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_urlsafe(48).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link fails where the name exists, so the first one wins and nobody reads half a key.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
