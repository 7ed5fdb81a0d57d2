"""The table of ids holds what a dictionary holds."""

from __future__ import annotations

import random

import pytest

from automix_cli.data import id_lines
from automix_cli.data.id_lines import IdLines


@pytest.mark.parametrize("ids", [3, 500, 5_000])
def test_the_first_line_of_every_id_is_found_again_as_in_a_dictionary(ids: int) -> None:
    rng = random.Random(ids)
    table, lines = IdLines(), dict[str, int]()
    for line in range(2 * ids):
        ident = f"q{rng.randrange(ids)}"
        assert (ident in table) == (ident in lines)
        assert table.first(ident, line) == lines.setdefault(ident, line)
    assert len(table) == len(lines)
    assert all(table.first(ident, -1) == line for ident, line in lines.items())


def test_ids_whose_hashes_want_one_place_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_lines, "_digest_of", lambda ident: (int(ident) << 20) + 1)
    table = IdLines()
    assert [table.first(str(n), n) for n in range(700)] == list(range(700))
    assert [table.first(str(n), 0) for n in range(700)] == list(range(700))
    assert "700" not in table
