"""Settings of mail."""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ragecho.kernel.errors import ConfigurationError

_PORTS = {"smtp": 587, "smtps": 465}


class MailSettings(BaseSettings):
    """How mail leaves."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    smtp_url: SecretStr | None = Field(
        None,
        description="smtp://user:password@host:587 (with STARTTLS; `?tls=optional` where the server has none) or"
        " smtps://…:465. Without it, mail of a development server is read on its outbox page.",
    )
    mail_from: str = Field("Echo <echo@localhost>", description="Sender of mails, like `Echo <echo@example.com>`.")


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    is_tls: bool
    requires_starttls: bool


def smtp_server(url: str) -> SmtpServer:
    """Return what RAGECHO_SMTP_URL says. Raises `ConfigurationError`, which never repeats it."""
    try:
        parts = urlsplit(url)
        port = parts.port
        wanted = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError as error:
        raise ConfigurationError("RAGECHO_SMTP_URL is not a URL like smtp://user:password@host:587.") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigurationError("RAGECHO_SMTP_URL is not a URL like smtp://user:password@host:587.")
    if wanted not in ({}, {"tls": ["optional"]}):
        raise ConfigurationError("RAGECHO_SMTP_URL takes no option but ?tls=optional.")
    is_plain_allowed = wanted == {"tls": ["optional"]} or _is_loopback(parts.hostname)
    return SmtpServer(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        is_tls=parts.scheme == "smtps",
        requires_starttls=parts.scheme == "smtp" and not is_plain_allowed,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
