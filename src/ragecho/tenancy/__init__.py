"""Organisations, workspaces, members, API keys."""
