"""Labels of rows that were chosen by what they tell: never read as if they were drawn at random.

Rows on which answers differ are labelled with a higher chance than others. Shares of right answers among
such labels are therefore far from those of all rows. A part of the rows is drawn of all rows alike, and that
part alone tells how often a tier is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automix_cli.data.groups import FEWEST_GROUPS
from automix_cli.data.traces import Objects, TraceTable
from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Floats
from automix_cli.records import Json
from automix_cli.texts import count_of

_AT_RANDOM = ("random", "both")
_SAME_CHANCE = 1e-9


def random_part(table: TraceTable, draws: Sequence[Json]) -> tuple[TraceTable, str]:
    """The rows drawn of all alike, where some were chosen by what they tell; and a note on what is left out.

    Rows that all had the same chance, and do not say that they were chosen, are drawn of all alike: so
    other tools write them.

    Args:
        table: rows that all have a label.
        draws: of each row, how it was drawn: chosen, random or both; None where it does not say.

    Returns:
        The table itself and "" where no row was chosen.

    Raises:
        DataError: the rows do not say which of them were drawn at random, or too few were.
    """
    parts = np.array([draw if isinstance(draw, str) else "" for draw in draws], dtype=object)
    chance = np.ones(len(table)) if table.inclusion is None else np.nan_to_num(table.inclusion, nan=1.0)
    if not ((chance < 1) | (parts == "chosen")).any():
        return table, ""
    if _is_one_draw(chance, parts):
        return table, f"every label has the inclusion {chance[0]:g}: taken for drawn at random from all rows"
    at_random = np.isin(parts, _AT_RANDOM)
    part = table.without_rows(~at_random)
    if part.n_groups < FEWEST_GROUPS:
        way_out = _ALL_ROWS if any(parts) else f"{_DRAWN}; else {_ALL_ROWS}"
        raise DataError(_too_few(part, len(table)), hint=way_out)
    rows = f"{count_of(len(part), 'row')} drawn at random"
    return part, f"labels of {rows} are used alone: the other {len(table) - len(part):,} were chosen"


def _is_one_draw(chance: Floats, parts: Objects) -> bool:
    """Whether no row says how it was drawn, and all had the same chance."""
    return not any(parts) and bool(np.ptp(chance) < _SAME_CHANCE)


def _too_few(part: TraceTable, n: int) -> str:
    """Why labels cannot be used without the rows that have none."""
    return (
        f"{count_of(n, 'label')} of rows that were chosen to be labelled say nothing of all rows, and "
        f"{len(part):,} were drawn at random, of at least {FEWEST_GROUPS} that it takes"
    )


_DRAWN = 'rows that were drawn from all rows alike say "drawn": "random"'
_ALL_ROWS = (
    "read the labels beside all rows: all of these in the first file, --labels LABELS --baseline TIER, "
    "without --drop-incomplete"
)
