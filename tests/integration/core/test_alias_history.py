"""Where an alias has pointed: every move once, in order, whoever else moves what, on both databases."""

from __future__ import annotations

import pytest

from core.errors import NotFound
from core.queries import registry
from core.session import Database
from tests.integration.core.locks import while_it_waits
from tests.support.rows import model_row


def _models(database: Database, count: int) -> list[str]:
    with database.begin() as session:
        return [
            registry.add(
                session,
                model_row(artifact="models/x"),
            ).id
            for _ in range(count)
        ]


def test_an_alias_has_a_history_of_its_own(database: Database) -> None:
    names = ("champion", "shadow")
    models = _models(database, 2)
    with database.begin() as session:
        for _ in range(2):
            for name, model_id in zip(names, models, strict=True):
                registry.move_alias(session, name, model_id)
        assert registry.move_alias(session, "champion", models[1]).version == 3
        registry.remove_alias(session, "champion")
    with database.read() as session:
        moves = registry.alias_moves(session, "champion", limit=9)
        assert [(move.version, move.model_id) for move in moves] == [
            (4, None),
            (3, models[1]),
            (2, models[0]),
            (1, models[0]),
        ]
        assert [move.version for move in registry.alias_moves(session, "champion", limit=2)] == [4, 3]
        assert [alias.name for alias, _ in registry.aliases(session)] == ["shadow"]
        assert registry.get(session, "shadow").id == models[1]
        with pytest.raises(NotFound, match="champion"):
            registry.get(session, "champion")
    with pytest.raises(NotFound, match="champion"), database.begin() as session:
        registry.remove_alias(session, "champion")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_moves_at_once_are_two_moves_one_behind_the_other(database: Database) -> None:
    """SQLite has one writer at a time."""
    before, first, second = _models(database, 3)
    with database.begin() as session:
        registry.move_alias(session, "champion", before)
    while_it_waits(
        database,
        lambda s: registry.move_alias(s, "champion", first),
        lambda s: registry.move_alias(s, "champion", second),
    ).result()
    with database.read() as session:
        moves = registry.alias_moves(session, "champion", limit=9)
        assert [(move.version, move.model_id) for move in moves] == [(3, second), (2, first), (1, before)]
        assert registry.get(session, "champion").id == second
