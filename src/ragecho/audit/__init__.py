"""What happened, kept so that it can be looked up and replayed."""
