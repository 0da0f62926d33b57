"""Run a migration's SQL file."""

from pathlib import Path

from alembic import op

VERSIONS = Path(__file__).parent / "versions"


def run(name: str) -> None:
    """Execute `versions/<name>.sql` as one batch."""
    sql = (VERSIONS / f"{name}.sql").read_text(encoding="utf-8")
    # The driver's own cursor without arguments: no parameter syntax is looked for in the text.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
