"""One call for a role's start: logs and traces."""

import os

from ragecho.platform.settings import Settings
from ragecho.platform.telemetry.logs import configure_logging
from ragecho.platform.telemetry.settings import TelemetrySettings
from ragecho.platform.telemetry.tracing import configure_tracing, instrument_http_clients

_OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure_telemetry(settings: Settings, *, role: str) -> None:
    """Configure logging and tracing of this process. Call once, before the first log line."""
    configure_logging(settings, role=role)
    endpoint = TelemetrySettings().endpoint
    if not endpoint and not any(os.environ.get(name) for name in _OTLP_VARIABLES):
        configure_tracing(role=role)
        return
    # The exporter pulls in protobuf and requests (60 ms): only processes that export pay for it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
    configure_tracing(role=role, exporter=OTLPSpanExporter(endpoint=url))
    instrument_http_clients()
