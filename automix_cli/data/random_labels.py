"""Labels of rows that were chosen by what they tell: never read as if they were drawn at random.

Rows on which answers differ are labelled with a higher chance than others. Shares of right answers among
such labels are therefore far from those of all rows. A part of the rows is drawn of all rows alike, and that
part alone tells how often a tier is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automix_cli.data.groups import FEWEST_GROUPS
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.records import Json
from automix_cli.texts import count_of

_AT_RANDOM = ("random", "both")


def random_part(table: TraceTable, draws: Sequence[Json]) -> tuple[TraceTable, str]:
    """The rows drawn of all alike, where some were chosen by what they tell; and a note on what is left out.

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
    at_random = np.isin(parts, _AT_RANDOM)
    part = table.without_rows(~at_random)
    if part.n_groups < FEWEST_GROUPS:
        raise DataError(_too_few(part, len(table)), hint=_WAY_OUT)
    rows = f"{count_of(len(part), 'row')} drawn at random"
    return part, f"labels of {rows} are used alone: the other {len(table) - len(part):,} were chosen"


def _too_few(part: TraceTable, n: int) -> str:
    """Why labels cannot be used without the rows that have none."""
    return (
        f"{count_of(n, 'label')} of rows that were chosen to be labelled say nothing of all rows, and "
        f"{len(part):,} were drawn at random, of at least {FEWEST_GROUPS} that it takes"
    )


_WAY_OUT = (
    "read them beside all rows, without --drop-incomplete: "
    "automix calibrate ROWS --labels LABELS --baseline TIER"
)
