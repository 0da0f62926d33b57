"""Settings of the browser app's gateway."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """Lifetimes of the browser app's sessions, and how it reaches the identity service."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_WEB_", env_file=".env", extra="ignore")

    session_idle_minutes: int = Field(720, ge=1, description="A session that is not used for this long ends.")
    session_max_minutes: int = Field(
        20160, ge=5, description="A session ends after this, used or not; then one signs in again."
    )
    login_minutes: int = Field(60, ge=5, description="How long a sign-in that was begun may take.")


class IdentityAddress(BaseSettings):
    """Where the gateway reaches the identity service."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_IDENTITY_", env_file=".env", extra="ignore")

    internal_url: str | None = Field(
        None,
        description="Address of an identity service that runs elsewhere, as this process reaches it"
        " (http://identity:8001/identity); default: the one in this process.",
    )
