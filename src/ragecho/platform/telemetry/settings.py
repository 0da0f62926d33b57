"""Settings of logs and traces that are not shared by other features."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TelemetrySettings(BaseSettings):
    """Where traces go. Nothing is sent anywhere unless one of these names a collector."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_OTEL_", env_file=".env", extra="ignore")

    endpoint: str | None = Field(
        None,
        description="Base URL of an OTLP/HTTP collector, e.g. http://collector:4318; the standard "
        "OTEL_EXPORTER_OTLP_* variables count as well. Empty: traces are not exported.",
    )
