"""`ragecho db`."""

from ragecho.cli.connection_options import AsJson
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json
from ragecho.cli.settings import load_settings

app = App(help="Upgrade the database's schema.")


@app.command("upgrade")
def upgrade_schema(*, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema; what is there already stays."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.database import upgrade

    _show(upgrade(load_settings(Settings)), as_json)


@app.command("current")
def current_schema(*, as_json: AsJson = False) -> None:
    """Show the schema's revision."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.database import current

    _show(current(load_settings(Settings)), as_json)


def _show(revision: str, as_json: bool) -> None:
    if as_json:
        emit_json({"revision": revision})
        return
    print(revision)
