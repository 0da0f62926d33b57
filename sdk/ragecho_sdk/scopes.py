"""Which of Echo's scopes stand for others. Made by scripts/generate_authorization_reference.py; a test holds it to the table."""

from collections.abc import Mapping
from types import MappingProxyType

# A token with the broad scope on the right may do what the narrow one on the left names.
BROADER: Mapping[str, str] = MappingProxyType(
    {
        "documents:read": "read",
        "documents:write": "write",
        "documents:administer": "admin",
        "index:administer": "admin",
        "sources:read": "read",
        "sources:administer": "admin",
        "jobs:read": "read",
        "jobs:write": "write",
        "jobs:administer": "admin",
        "answers:read": "read",
        "answers:write": "read",
        "workspace:read": "read",
        "workspace:administer": "admin",
        "members:read": "read",
        "members:administer": "admin",
        "api-keys:own": "admin",
        "api-keys:administer": "admin",
        "audit:read": "admin",
        "workspaces:administer": "admin",
        "organization-audit:read": "admin",
        "organization:read": "read",
        "organization:administer": "admin",
        "organization:own": "admin",
    }
)
