"""Words weigh what this release gives them; an index that an older one made keeps its weights until they are made again."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, create_engine, text
from tests.db.old_database import at_revision

from ragecho.platform.database import driver_url
from ragecho.platform.database.migrate import upgrade

_ADD = (
    "set local session_replication_role = replica",
    "insert into index_statistics (workspace_id, space_id, chunks, terms, weights_length, version) values (:w, :s, 1, 12, 12, 5)",
    """insert into chunk_terms (workspace_id, chunk_id, document_id, space_id, readers, terms, frequencies, length, weights)
       values (:w, gen_random_uuid(), gen_random_uuid(), :s, '{workspace}', '{3,7}', '{1,5}', 20,
               ragecho_bm25_weights('{3,7}', '{1,5}', 20, 12))""",
)
_AGAIN = "update chunk_terms set weights = ragecho_bm25_weights(terms, frequencies, length, 12)"
_WEIGHTS = "select weights::text from chunk_terms where workspace_id = :w"


def weights_of(connection: Connection, workspace_id: UUID) -> list[float]:
    found = connection.execute(text(_WEIGHTS), {"w": workspace_id}).scalar_one()
    return [float(pair.split(":")[1]) for pair in found.split("}")[0].strip("{").split(",")]


def by_hand(k1: float, b: float) -> list[float]:
    return [tf * (k1 + 1) / (tf + k1 * (1 - b + b * 20 / 12)) for tf in (1, 5)]


def test_new_weights_are_this_releases_and_old_ones_stay_until_they_are_made_again(owner_url: str) -> None:
    workspace_id, space_id = uuid4(), uuid4()
    with at_revision(owner_url, "0018") as (owner, superuser_url):
        superuser = create_engine(driver_url(superuser_url))
        with superuser.begin() as connection:
            for statement in _ADD:
                connection.execute(text(statement), {"w": workspace_id, "s": space_id} if ":w" in statement else {})
        upgrade(owner)
        with superuser.begin() as connection:
            connection.execute(text("set local session_replication_role = replica"))
            assert weights_of(connection, workspace_id) == pytest.approx(by_hand(1.2, 0.75), abs=1e-4)
            connection.execute(text(_AGAIN))
            assert weights_of(connection, workspace_id) == pytest.approx(by_hand(0.7, 0.5), abs=1e-4)
        superuser.dispose()
