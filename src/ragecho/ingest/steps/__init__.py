"""The boxes of ingestion; none imports another."""
