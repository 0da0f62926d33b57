"""From a question to a proven answer."""
