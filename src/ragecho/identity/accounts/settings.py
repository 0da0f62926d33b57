"""Settings of accounts and sign-in."""

from enum import StrEnum

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Registration(StrEnum):
    """Who may make an account."""

    OPEN = "open"
    INVITED = "invited"
    CLOSED = "closed"


class AccountSettings(BaseSettings):
    """How people sign in and for how long."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_IDENTITY_", env_file=".env", extra="ignore")

    registration: Registration = Field(
        Registration.INVITED, description="`open`: anybody makes an account; `invited`: with an invitation; `closed`."
    )
    min_password_length: int = Field(12, ge=8, le=128, description="Shortest password, in characters.")
    password_hash_concurrency: int = Field(
        2, ge=1, le=64, description="Passwords hashed at once by one process; each takes 64 MiB while it runs."
    )
    session_idle_minutes: int = Field(
        7 * 24 * 60, ge=1, description="A browser session ends when unused for this long."
    )
    session_max_minutes: int = Field(30 * 24 * 60, ge=1, description="A browser session ends this long after sign-in.")
    link_minutes: int = Field(60, ge=5, description="How long a link in a mail works.")
