"""Thin commands over the SDK and the roles."""
