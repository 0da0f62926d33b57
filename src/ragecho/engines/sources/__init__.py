"""Places that documents come from, one module per technology."""
