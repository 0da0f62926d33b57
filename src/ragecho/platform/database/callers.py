"""What a transaction is told of its caller; the policies of the tables compare it."""

from sqlalchemy import text

from ragecho.kernel.caller import Caller

# One statement for all settings; `true` makes each end with the transaction, so a pooled connection carries nothing on.
SET_CALLER = text("""
    select set_config('ragecho.organization_id', :organization_id, true),
           set_config('ragecho.workspace_id', :workspace_id, true),
           set_config('ragecho.principals', :principals, true),
           set_config('ragecho.sees_all', :sees_all, true)
""")


def settings_of(caller: Caller) -> dict[str, str]:
    """Return the parameters of `SET_CALLER`."""
    return {
        "organization_id": str(caller.organization_id),
        "workspace_id": str(caller.workspace_id),
        "principals": array_literal(caller.principals),
        "sees_all": "on" if caller.sees_all else "off",
    }


def array_literal(values: tuple[str, ...]) -> str:
    """Return a PostgreSQL text[] literal."""
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    return "{" + ",".join(quoted) + "}"
