"""Prompts are files with a version in the name; the version is recorded with every answer."""
