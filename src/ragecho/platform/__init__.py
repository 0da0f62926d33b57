"""Settings, database, jobs, HTTP, telemetry, embedded PostgreSQL."""
