"""The signals that rows hold, by name, and the table as a policy sees it that looks at one of them.

    signals_in(table) ─▶ names, the cheapest to look at first ─▶ with_recorded(table, name)

Rows may hold several confidences of one answer, such as what the model says of itself and the
probability of its tokens, each under a key of its own. Which of them is worth looking at is a
question for `evaluation.signal_choice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from automix_cli.data.row_keys import TIER_KEYS
from automix_cli.data.traces import RecordedVotes, TraceTable
from automix_cli.errors import UsageError, did_you_mean
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.signals import RecordedSignal
from automix_cli.records import Json

NONE, OWN = "none", "own"
"""No signal at all, and each tier's own where the tiers record different ones."""


class LiveSignal(NamedTuple):
    """A signal that a profile can ask for: how rows record it, in words, and the keys that ask for it."""

    kind: RecordedSignal
    words: str
    keys: str


LIVE_SIGNALS = {
    "confidence": LiveSignal("logprob", "the confidence of answers", "{signal: logprob, logprob_of: answer}"),
    "verdict": LiveSignal("verdict", "the confidence of a verdict", "{signal: logprob, logprob_of: verdict}"),
    "votes": LiveSignal("votes", "votes", "{signal: votes}"),
    "consistency": LiveSignal("consistency", "samples", "{signal: consistency}"),
}
_KNOWN_KEYS = frozenset(key.name for key in TIER_KEYS)
_PART_OF_NAME = "conf"  # in the name of a key that `auto` takes for a confidence


class CellNumbers(NamedTuple):
    """What one key holds in the cells of one tier over one chunk of rows, from its first row on."""

    tier: str
    key: str
    first_row: int
    values: Floats


def read_confidences(tier: str, cells: Sequence[Json], name: str, first_row: int) -> list[CellNumbers]:
    """Read the numbers in 0..1 under keys of a tier's cells that no other part of automix reads.

    `name` is the name of a key, or `auto` for all keys with "conf" in their names: others may be
    scores, which are not known before the answer is judged. A value that is no number in 0..1 is NaN.
    """
    cells = [cell if isinstance(cell, dict) else {} for cell in cells]
    names = {key for cell in cells for key in cell} - _KNOWN_KEYS
    own = [key for key in sorted(names) if key == name or _PART_OF_NAME in key.lower()]
    return [
        CellNumbers(tier, key, first_row, np.array([_number(cell.get(key)) for cell in cells])) for key in own
    ]


def _number(value: Json) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else float("nan")


def confidence_columns(parts: Sequence[CellNumbers], tiers: Sequence[str], rows: int) -> dict[str, Floats]:
    """The numbers of each key over all rows, n×N, NaN where nothing is recorded."""
    columns: dict[str, Floats] = {}
    for tier, key, first_row, values in parts:
        whole = columns.setdefault(key, np.full((rows, len(tiers)), np.nan))
        whole[first_row : first_row + len(values), tiers.index(tier)] = values
    return {key: column for key, column in sorted(columns.items()) if not np.isnan(column).all()}


def signals_in(table: TraceTable) -> tuple[str, ...]:
    """The names of the signals that rows hold, the cheapest first; `none` is always among them.

    What comes with the answer costs nothing, a verdict one call, votes several. The confidence beside
    votes is left out, because it is often their share; beside what one vote costs, and at most one vote of
    which it is not the share, it is that of a verdict.
    """
    own = table.with_signal(None)
    kinds = {own.signals[j] for j in range(len(table.tiers)) if _shows(own, j)}
    if not kinds and not table.confidences:
        return (NONE,)
    confidence = "verdict" if _bought(table) else "confidence"
    fields = {"logprob": confidence, "verdict": "verdict", "votes": "votes", "consistency": "consistency"}
    present = {fields[kind] for kind in kinds}
    if confidence == "verdict":
        present = present - {"votes"} | {"verdict"}
    more = (*table.confidences, *(name for name in ("verdict", "consistency", "votes") if name in present))
    several = (OWN,) if len(kinds) > 1 else ()
    return (NONE, *(["confidence"] if "confidence" in present else []), *more, *several)


def _shows(table: TraceTable, j: int) -> bool:
    """Whether a tier but the last shows anything on any row."""
    is_last = j == len(table.tiers) - 1 and j > 0
    has_votes = bool(table.votes[:, j].any()) and table.signals[j] == "votes"
    return not is_last and (has_votes or not bool(np.isnan(table.confidence[:, j]).all()))


def _bought(table: TraceTable) -> bool:
    """Whether confidences are those of verdicts, which are bought one at a time."""
    counts = table.votes.sum(axis=2)
    is_share = table.confidence == table.votes[:, :, 0] / np.maximum(counts, 1)
    has_both = (counts > 0) & ~np.isnan(table.confidence)
    is_single = counts.max(initial=0) <= 1 and bool((has_both & ~is_share).any() or not counts.any())
    return is_single and bool((np.nan_to_num(table.vote_cost) > 0).any())


def with_recorded(table: TraceTable, name: str) -> TraceTable:
    """The table as a policy sees it that looks at one signal, at every tier that records it.

    Raises:
        UsageError: the rows do not hold it.
    """
    if name not in (names := signals_in(table)):
        raise UsageError(
            f"--signal: the rows hold no {name!r}{did_you_mean(name, names)}",
            hint=f"they hold {', '.join(names)}; auto compares them",
        )
    table = replace(table, signal_name=name)
    if name == OWN:
        return table.with_signal(None)
    if name in LIVE_SIGNALS:
        return table.with_signal(LIVE_SIGNALS[name].kind)
    nothing = np.full_like(table.confidence, np.nan)
    votes = np.zeros_like(table.votes)
    return replace(
        table.with_signal("logprob"),
        confidence=table.confidences.get(name, nothing),
        votes=votes,
        recorded_votes=tuple(RecordedVotes.of(votes[:, j]) for j in range(len(table.tiers))),
    )
