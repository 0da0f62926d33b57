"""The ports' implementations, one folder per technology."""
