"""Settings of the identity service."""

from enum import StrEnum

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ragecho.platform.settings import Environment, Settings


class DynamicRegistration(StrEnum):
    """Whether clients may register themselves (RFC 7591)."""

    ON = "on"
    OFF = "off"


class IdentitySettings(BaseSettings):
    """Lifetimes and switches of the OpenID Connect provider."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_IDENTITY_", env_file=".env", extra="ignore")

    secret: SecretStr | None = Field(
        None,
        description="Master key that encrypts signing keys and other secrets at rest, 32 random characters or more;"
        " default: the file DATA_DIR/identity.key, made at the first start. All processes need the same one.",
    )
    dynamic_registration: DynamicRegistration | None = Field(
        None, description="`on` lets clients register themselves; default on in development, off in production."
    )
    code_seconds: int = Field(60, ge=5, le=600, description="Lifetime of an authorization code.")
    access_token_seconds: int = Field(600, ge=30, le=86400, description="Lifetime of an access token.")
    id_token_seconds: int = Field(3600, ge=30, le=86400, description="Lifetime of an ID token.")
    refresh_idle_days: int = Field(14, ge=1, description="A refresh token that is not used for this long ends.")
    grant_days: int = Field(90, ge=1, description="What a person allowed a client ends after this, used or not.")
    refresh_leeway_seconds: int = Field(
        10,
        ge=0,
        le=60,
        description="How long the preceding refresh token still answers, for lost and parallel answers.",
    )
    interaction_seconds: int = Field(1800, ge=60, description="How long a login or consent page may stay open.")
    device_code_seconds: int = Field(600, ge=60, description="How long a device waits for its code to be approved.")
    device_interval_seconds: int = Field(5, ge=1, le=60, description="How often a device may ask.")
    pushed_request_seconds: int = Field(60, ge=5, le=600, description="Lifetime of a pushed authorization request.")
    key_rotation_days: int = Field(90, ge=1, description="Age at which a signing key is replaced by the next one.")

    def allows_registration(self, settings: Settings) -> bool:
        """Return whether clients may register themselves here."""
        if self.dynamic_registration is None:
            return settings.environment is Environment.DEVELOPMENT
        return self.dynamic_registration is DynamicRegistration.ON


def issuer_of(settings: Settings) -> str:
    """Return the issuer: where the provider is, as people and programs reach it."""
    return f"{base_url_of(settings)}/identity"


def audience_of(settings: Settings) -> str:
    """Return what access tokens for Echo's own API name as their audience."""
    return f"{base_url_of(settings)}/api"


def base_url_of(settings: Settings) -> str:
    """Return the URL that people type, without a slash at its end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = settings.host
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
