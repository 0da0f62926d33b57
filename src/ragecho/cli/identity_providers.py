"""`ragecho identity provider …` and `ragecho identity domain …`: sign-in with Google or any other OpenID provider."""

import sys
from typing import Annotated, Any

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields, show_table
from ragecho.cli.settings import load_settings
from ragecho.platform.settings import Settings

provider = App(help="Let people sign in with Google or another OpenID provider.")
domain = App(help="Say which domains are the organisation's own.")

Organization = Annotated[
    str | None, typer.Option("--organization", metavar="ID", help="Whose; default the first organisation.")
]
Named = Annotated[str, typer.Argument(metavar="NAME", help="Its name or id.")]


@provider.command("add")
def add_provider(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What people see: sign in with NAME.")],
    client_id: Annotated[str, typer.Option(metavar="ID", help="The client id that the provider gave you.")],
    issuer: Annotated[str | None, typer.Option(metavar="URL", help="The provider's URL, as it calls itself.")] = None,
    google: Annotated[bool, typer.Option("--google", help="Google; needs no issuer.")] = False,
    secret_stdin: Annotated[
        bool, typer.Option("--client-secret-stdin", help="Read the client secret from stdin.")
    ] = False,
    scopes: Annotated[str, typer.Option(metavar="A,B", help="What to ask for.")] = "openid,email,profile",
    hosted_domain: Annotated[
        str | None, typer.Option(metavar="DOMAIN", help="Google: only accounts of this Workspace domain.")
    ] = None,
    route: Annotated[
        list[str] | None, typer.Option(metavar="DOMAIN", help="Send people with these addresses there; repeat.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Who becomes a member by signing in; default verified domains, * for all."),
    ] = None,
    listed: Annotated[bool, typer.Option("--listed", help="Show a button on the login page.")] = False,
    trust_email: Annotated[
        bool, typer.Option("--trust-email", help="Believe it about addresses of any domain.")
    ] = False,
    trust_own_domains: Annotated[
        bool,
        typer.Option(
            "--trust-own-domains", help="Believe it about your verified domains though it never says email_verified."
        ),
    ] = False,
    no_new_members: Annotated[
        bool, typer.Option("--no-new-members", help="Only people who have an account already.")
    ] = False,
    organization: Organization = None,
    as_json: AsJson = False,
) -> None:
    """Add a provider, and say which redirect URI to register there."""
    from ragecho.roles import identity_providers as role

    if google == bool(issuer):
        raise BadUse("give either --issuer or --google.")
    values: dict[str, Any] = {
        "name": name,
        "preset": "google" if google else "oidc",
        "client_id": client_id,
        "scopes": [scope for scope in scopes.replace(",", " ").split() if scope],
        "routed_domains": route or [],
        "allowed_domains": allow or [],
        "is_listed": listed,
        "trusts_email": trust_email,
        "trusts_own_domains": trust_own_domains,
        "creates_members": not no_new_members,
    }
    if issuer:
        values["issuer"] = issuer
    if hosted_domain:
        values["hosted_domain"] = hosted_domain
    if secret_stdin:
        values["client_secret"] = sys.stdin.readline().rstrip("\r\n")
    made = role.add_provider(load_settings(Settings), organization, values)
    _tell(made, as_json=as_json)
    if not as_json:
        note(
            f"Register {made['redirect_uri']} at the provider, then run: ragecho identity provider test '{made['name']}'"
        )
        for unverified in made["unverified_domains"]:
            note(f"{unverified} is not verified yet: ragecho identity domain verify {unverified}")


@provider.command("ls")
def list_providers(*, organization: Organization = None, as_json: AsJson = False) -> None:
    """List the providers without their secrets."""
    from ragecho.roles import identity_providers as role

    found = role.list_providers(load_settings(Settings), organization)
    if as_json:
        emit_json({"items": found, "total": len(found)})
        return
    rows = [
        (one["name"], one["issuer"], "yes" if one["is_enabled"] else "no", " ".join(one["routed_domains"]), one["id"])
        for one in found
    ]
    show_table(
        ("NAME", "ISSUER", "ENABLED", "DOMAINS", "ID"),
        rows,
        empty="No identity providers.",
        flexible="ISSUER",
        optional=("DOMAINS",),
    )


@provider.command("disable")
def disable_provider(name: Named, *, organization: Organization = None) -> None:
    """Sign nobody in with it for now; people of routed domains get the password field back."""
    from ragecho.roles import identity_providers as role

    role.set_enabled(load_settings(Settings), organization, name, is_enabled=False)
    note(f"Disabled {name}.")


@provider.command("enable")
def enable_provider(name: Named, *, organization: Organization = None) -> None:
    """Sign people in with it again."""
    from ragecho.roles import identity_providers as role

    role.set_enabled(load_settings(Settings), organization, name, is_enabled=True)
    note(f"Enabled {name}.")


@provider.command("rm")
def remove_provider(name: Named, *, organization: Organization = None) -> None:
    """Remove a provider; its people keep their accounts, and need another way to sign in."""
    from ragecho.roles import identity_providers as role

    role.remove_provider(load_settings(Settings), organization, name)
    note(f"Removed {name}.")


@provider.command("test")
def check_provider(name: Named, *, organization: Organization = None, as_json: AsJson = False) -> None:
    """Say what works and what does not; exit 1 when signing in cannot work."""
    from ragecho.roles import identity_providers as role

    checks = role.check_provider(load_settings(Settings), organization, name)
    works = all(check["verdict"] != "failed" for check in checks)
    if as_json:
        emit_json({"works": works, "checks": checks})
    else:
        show_table(
            ("CHECK", "RESULT", "FOUND"),
            [(one["name"], one["verdict"], one["text"]) for one in checks],
            empty="Nothing to check.",
            flexible="FOUND",
        )
    if not works:
        raise typer.Exit(1)


@domain.command("verify")
def verify_domain(
    name: Annotated[str, typer.Argument(metavar="DOMAIN", help="Like example.com.")],
    *,
    organization: Organization = None,
    as_json: AsJson = False,
) -> None:
    """Say, as the operator of this server, that a domain is the organisation's own."""
    from ragecho.roles import identity_providers as role

    _tell(role.verify_domain(load_settings(Settings), organization, name), as_json=as_json)


@domain.command("ls")
def list_domains(*, organization: Organization = None, as_json: AsJson = False) -> None:
    """List the organisation's domains."""
    from ragecho.roles import identity_providers as role

    found = role.list_domains(load_settings(Settings), organization)
    if as_json:
        emit_json({"items": found, "total": len(found)})
        return
    rows = [(one["name"], short_time(one["verified_at"]) or "no", one["verified_by"] or "") for one in found]
    show_table(("DOMAIN", "VERIFIED", "BY"), rows, empty="No domains.", flexible="DOMAIN")


@domain.command("rm")
def remove_domain(name: Named, *, organization: Organization = None) -> None:
    """Give a domain up; routing and trust that came of it end."""
    from ragecho.roles import identity_providers as role

    role.remove_domain(load_settings(Settings), organization, name)
    note(f"Removed {name}.")


def _tell(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(shown)
        return
    show_fields(
        (name, " ".join(map(str, value)) if isinstance(value, list) else value) for name, value in shown.items()
    )
