"""Echo: a self-hosted answer engine that proves every sentence with a citation."""

__version__ = "0.1.0"
