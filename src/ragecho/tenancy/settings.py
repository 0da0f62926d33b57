"""Limits of tenancy."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TenancySettings(BaseSettings):
    """Organisations, workspaces and invitations."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_TENANCY_", env_file=".env", extra="ignore")

    organization_creation: bool = Field(
        False, description="Whether anybody who is signed in may create an organisation of their own."
    )
    max_bulk_ids: int = Field(500, ge=1, le=10_000, description="Most workspaces named in one bulk operation.")
    max_bulk_matching: int = Field(
        5000, ge=1, le=100_000, description="Most workspaces that a filter may select for one bulk operation."
    )
    invitation_days: int = Field(7, ge=1, le=90, description="Days that an invitation holds unless it says otherwise.")
