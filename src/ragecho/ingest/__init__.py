"""From upload to a searchable document."""
