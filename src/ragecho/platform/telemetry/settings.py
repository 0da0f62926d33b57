"""Settings of logs, traces and metrics that are not shared by other features."""

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


class MetricsSettings(BaseSettings):
    """Where a worker shows its metrics and its health; the API shows its own beside its routes."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_METRICS_", env_file=".env", extra="ignore")

    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a worker's `/metrics`, `/health` and `/health/ready`; 0 opens none. Workers on one machine"
        " need a port each.",
    )
    host: str | None = Field(None, description="Address that a worker's metrics listen on; default HOST.")
