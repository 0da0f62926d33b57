"""Limits of the HTTP edge."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class HttpSettings(BaseSettings):
    """What one process accepts."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_HTTP_", env_file=".env", extra="ignore")

    max_body_bytes: int = Field(1024**2, ge=1024, description="Largest request body where nothing else is said.")
    max_upload_bytes: int = Field(200 * 1024**2, ge=1024, description="Largest body of an upload of documents.")
    max_concurrency: int = Field(
        256, ge=1, description="Requests answered at once by one process; more get 503 with Retry-After."
    )
    check_timeout_seconds: float = Field(3.0, gt=0, description="Longest a readiness check may take.")
