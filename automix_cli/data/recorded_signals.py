"""The signals that rows hold, by name, and the table as a policy sees it that looks at one of them.

    signals_in(table) ─▶ names, the cheapest to look at first ─▶ with_recorded(table, name)

Rows may hold several confidences of one answer, such as what the model says of itself and the
probability of its tokens, each under a key of its own. Which of them is worth looking at is a
question for `evaluation.signal_choice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from automix_cli.data.row_keys import TIER_KEYS
from automix_cli.data.traces import RecordedVotes, TraceTable
from automix_cli.errors import DataError, UsageError, describe_value, did_you_mean
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.signals import RecordedSignal
from automix_cli.records import Json
from automix_cli.texts import count_of

NONE, OWN, AUTO = "none", "own", "auto"
"""No signal at all, each tier's own where the tiers record different ones, and whichever gains most."""


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


class UnreadConfidence(NamedTuple):
    """A value that is no number in 0..1, where a confidence was looked for, and its line in the file."""

    tier: str
    key: str
    line: int
    value: Json

    @property
    def text(self) -> str:
        """What was expected, and what is there."""
        where = f"line {self.line}: tiers.{self.tier}.{self.key}"
        return f"{where}: expected a number in 0..1, got {describe_value(self.value)}"


class CellNumbers(NamedTuple):
    """What one key holds in the cells of one tier over one chunk of rows, from its first row on."""

    tier: str
    key: str
    first_row: int
    values: Floats
    unread: tuple[UnreadConfidence, ...] = ()


def read_confidences(
    tier: str, cells: Sequence[Json], name: str, first_row: int, lines: Sequence[int]
) -> list[CellNumbers]:
    """Read the numbers in 0..1 under keys of a tier's cells that no other part of automix reads.

    Args:
        tier: its name.
        cells: of the tier, one per row of a chunk.
        name: of a key, or `auto` for all keys with "conf" in their names: others may be scores, which are
            not known before the answer is judged.
        first_row: the place of the first row in the table.
        lines: of the rows in their file.

    Raises:
        DataError: the key that is named holds something else. Under keys that `auto` takes for
            confidences it is NaN, and one of `unread`.
    """
    cells = [cell if isinstance(cell, dict) else {} for cell in cells]
    names = {key for cell in cells for key in cell} - _KNOWN_KEYS
    own = [key for key in sorted(names) if key == name or _PART_OF_NAME in key.lower()]
    parts = [_cell_numbers(tier, [cell.get(key) for cell in cells], key, first_row, lines) for key in own]
    if unread := [value for part in parts for value in part.unread if part.key == name]:
        raise DataError(unread[0].text)
    return parts


def _cell_numbers(
    tier: str, cells: Sequence[Json], key: str, first_row: int, lines: Sequence[int]
) -> CellNumbers:
    values = np.array([_number(value) for value in cells])
    unread = tuple(
        UnreadConfidence(tier, key, line, value)
        for line, value, is_nan in zip(lines, cells, np.isnan(values).tolist(), strict=True)
        if is_nan and value is not None
    )
    return CellNumbers(tier, key, first_row, values, unread)


def unread_notes(unread: Sequence[UnreadConfidence]) -> list[str]:
    """What was left out of the confidences of each tier, counted, with the first line.

    Example:
        >>> unread_notes([UnreadConfidence("small", "conf", 7, "high")])
        ['tiers.small.conf: 1 value is no number in 0..1 and is left out (line 7: "high")']
    """
    by_key: dict[tuple[str, str], list[UnreadConfidence]] = {}
    for value in unread:
        by_key.setdefault((value.tier, value.key), []).append(value)
    return [_unread_note(f"tiers.{tier}.{key}", own) for (tier, key), own in by_key.items()]


def _unread_note(where: str, unread: Sequence[UnreadConfidence]) -> str:
    one, first = len(unread) == 1, min(unread, key=lambda value: value.line)
    words = "is no number in 0..1 and is" if one else "are no numbers in 0..1 and are"
    place = f"{'' if one else 'first in '}line {first.line}: {describe_value(first.value)}"
    return f"{where}: {count_of(len(unread), 'value')} {words} left out ({place})"


def _number(value: Json) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else float("nan")


def confidence_columns(parts: Sequence[CellNumbers], tiers: Sequence[str], rows: int) -> dict[str, Floats]:
    """The numbers of each key over all rows, n×N, NaN where nothing is recorded."""
    columns: dict[str, Floats] = {}
    for part in parts:
        whole = columns.setdefault(part.key, np.full((rows, len(tiers)), np.nan))
        whole[part.first_row : part.first_row + len(part.values), tiers.index(part.tier)] = part.values
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
    confidence = "verdict" if _buys_verdicts(table) else "confidence"
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


def _buys_verdicts(table: TraceTable) -> bool:
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
