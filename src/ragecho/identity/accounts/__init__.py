"""Accounts of the identity service: people, what they sign in with, where they are signed in."""
