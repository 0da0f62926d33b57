"""Protocols of what Echo needs from the outside. Every engine of a port passes the same contract suite (tests/contract)."""
