"""The asynchronous resources are the synchronous ones, awaited."""

import inspect

import pytest

from ragecho_sdk import async_tenancy, tenancy

NAMES = ("Workspaces", "Audit", "Organizations", "Members", "Groups", "Invitations", "Keys", "ServiceAccounts")


@pytest.mark.parametrize("name", NAMES)
def test_both_clients_offer_the_same(name: str) -> None:
    plain, awaited = getattr(tenancy, name), getattr(async_tenancy, f"Async{name}")
    methods = [method for method in vars(plain) if not method.startswith("_")]
    assert methods == [method for method in vars(awaited) if not method.startswith("_")]
    for method in methods:
        one, other = getattr(plain, method), getattr(awaited, method)
        assert inspect.signature(one) == inspect.signature(other), method
        assert inspect.iscoroutinefunction(other)
        assert not inspect.iscoroutinefunction(one)


def test_every_resource_hangs_on_both_clients() -> None:
    from ragecho_sdk import AsyncEcho, Echo

    echo, other = Echo(api_key="x"), AsyncEcho(api_key="x")
    for name in (
        "workspaces",
        "audit",
        "organizations",
        "members",
        "groups",
        "invitations",
        "keys",
        "service_accounts",
    ):
        assert type(getattr(other, name)).__name__ == f"Async{type(getattr(echo, name)).__name__}"
    echo.close()
