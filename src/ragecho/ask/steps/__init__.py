"""The boxes of answering; none imports another."""
