"""Labels of rows that were chosen by what they tell: never read as if they were drawn at random.

Rows on which answers differ are labelled with a higher chance than others. Shares of right answers among
such labels are therefore far from those of all rows. A part of the rows is drawn of all rows alike, and that
part alone tells how often a tier is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.groups import FEWEST_GROUPS
from automix_cli.data.traces import Objects, TraceTable
from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Bools, Floats
from automix_cli.records import Json
from automix_cli.texts import count_of

_AT_RANDOM = ("random", "both")
_SAME_CHANCE = 1e-9
_SURELY_CHOSEN = 4.0  # standard deviations: chance goes so far once in 16,000 files


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


def note_on_choice(classes: NDArray[np.int16], has_label: Bools) -> str:
    """A note where labels stand on rows with answers that differ far more, or less, often than by chance.

    Args:
        classes: n×N, the answers of each row by number, equal ones alike; below 0 where there is none.
        has_label: n, whether a row has a label.

    Returns:
        "" where chance may well have chosen the rows.

    Raises:
        DataError: every label stands on a row with answers that differ.

    Example:
        >>> classes = np.array([[0, 0], [0, 0], [0, 1], [0, 1]] * 20)
        >>> note_on_choice(classes.astype(np.int16), np.arange(80) < 40)
        ''
    """
    answered = (classes >= 0).all(axis=1)
    differs, own = (classes != classes[:, :1]).any(axis=1)[answered], has_label[answered]
    n, total = int(own.sum()), len(own)
    if not 0 < n < total or not 0 < differs.mean() < 1:
        return ""
    share, of_labels = float(differs.mean()), float(differs[own].mean())
    error = math.sqrt(share * (1 - share) / n * (total - n) / (total - 1))  # drawn without replacement
    if abs(of_labels - share) <= _SURELY_CHOSEN * error:
        return ""
    words = (
        f"answers differ on {int(differs[own].sum()):,} of {n:,} rows with a label, and on "
        f"{int(differs.sum()):,} of all {total:,}: these rows were not drawn at random"
    )
    if of_labels == 1:
        raise DataError(f"{words}, and say nothing of all rows", hint=_ALL_ROWS_HERE)
    return f"note: {words}, and figures of them are not those of all rows; {_ALL_ROWS_HERE}"


def _is_one_draw(chance: Floats, parts: Objects) -> bool:
    """Whether no row says how it was drawn, and all had the same chance."""
    return not any(parts) and bool(np.ptp(chance) < _SAME_CHANCE)


def _too_few(part: TraceTable, n: int) -> str:
    """Why labels cannot be used without the rows that have none."""
    return (
        f"{count_of(n, 'label')} of rows that were chosen to be labelled say nothing of all rows, and "
        f"{len(part):,} were drawn at random, of at least {FEWEST_GROUPS} that it takes"
    )


_ALL_ROWS_HERE = "--baseline TIER without --drop-incomplete uses the rows without a label, too"
_DRAWN = 'rows that were drawn from all rows alike say "drawn": "random"'
_ALL_ROWS = (
    "read the labels beside all rows: all of these in the first file, --labels LABELS --baseline TIER, "
    "without --drop-incomplete"
)
