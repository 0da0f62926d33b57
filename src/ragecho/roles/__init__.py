"""The processes of Echo."""
