"""Models that run in our own processes: what they are, where their weights come from, and how they are run."""
