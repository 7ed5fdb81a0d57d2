"""Observation models: how likely each outcome of a signal is for right and for wrong answers.

A model says, for each cell, how likely each count is. Cells are (wrong, right) of the tier
itself or, where the last tier's rightness shows too, (s_i, s_N) = (0,0), (0,1), (1,0), (1,1).
Each model lays out a `CountTable`: every count a plan may meet at the tier, and how one action
leads from counts to counts. Parameters are checked where they are built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from automix_cli.errors import DataError, reading_problem
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.problem import Visit
from automix_cli.pomdp.signals import Signal

MAX_PLANNED_VOTES = 128  # of one answer: orders of votes are counted in floats


class Counts(NamedTuple):
    """The evidence that a plan tells apart at one tier.

    For `votes` the value is the number of CORRECT ones among `parsed`; for `consistency`
    the plurality's count; for a confidence its bin, where one past the last is "missing".
    `parsed` and `n_votes` are 0 until there is evidence.
    """

    value: int = 0
    parsed: int = 0
    n_votes: int = 0


NO_COUNTS = Counts()


class Round(NamedTuple):
    """Votes bought in one action: from rows at one level to rows at another.

    `orders[i, j]`: in how many orders the votes can lead from row i of the level to row j
    of the next one.
    """

    votes: int
    to: slice
    orders: Floats


class Level(NamedTuple):
    """The rows of a table with equally many votes bought, and the rounds legal there."""

    rows: slice
    rounds: tuple[Round, ...]


class CountTable(NamedTuple):
    """Every count a plan may meet at one tier, ordered by votes bought.

    `likelihood[k, cell]` is ℓ of row k, one column per cell of the observation model;
    `entry[k]` the number of orders in which asking the tier shows row k at once.
    """

    counts: tuple[Counts, ...]
    row: Mapping[Counts, int]
    likelihood: Floats
    entry: Floats
    levels: tuple[Level, ...]


def _table(counts: list[Counts], likelihood: Floats, entry: Floats, levels: list[Level]) -> CountTable:
    return CountTable(tuple(counts), {c: k for k, c in enumerate(counts)}, likelihood, entry, tuple(levels))


def check_distribution(name: str, values: tuple[float, ...]) -> None:
    """Refuse values that are no distribution, with the name of the parameter."""
    if not all(math.isfinite(v) and v >= 0 for v in values) or abs(math.fsum(values) - 1) > 1e-9:
        raise ValueError(f"{name} must be probabilities that sum to one, got {values}")


def _check_cells(name: str, cells: tuple[Any, ...]) -> None:
    if len(cells) not in (2, 4):
        raise ValueError(f"{name} needs 2 cells (wrong, right) or 4 (with the last tier), got {len(cells)}")


class VoteObservations(Struct, frozen=True, kw_only=True):
    """Votes on one answer: BetaBinomial(a, b), one pair per cell.

    Attributes:
        shapes: (a, b) for wrong and for right answers; or four pairs, for
            (s_i, s_N) = (0,0), (0,1), (1,0), (1,1), where the last tier's rightness matters too.
        unparsed: the rate of votes that say nothing, whatever the state.

    Example:
        >>> model = VoteObservations(shapes=((1, 3), (3, 1)))
        >>> model.likelihood(Counts(2, 2, 2)).round(3).tolist()   # 1/4·2/5 and 3/4·4/5
        [0.1, 0.6]
    """

    shapes: tuple[tuple[float, float], ...]
    unparsed: float = 0.0

    def __post_init__(self) -> None:
        _check_cells("votes", self.shapes)
        if not all(0 < x < math.inf for pair in self.shapes for x in pair):
            raise ValueError(f"votes: shapes must be positive, got {self.shapes}")
        if not 0 <= self.unparsed < 1:
            raise ValueError(f"votes: the rate of unparsed votes must lie in [0, 1), got {self.unparsed}")

    def counts(self, visit: Visit) -> Counts:
        """The counts of a visit; unparsed votes count only where the model has a rate for them."""
        return Counts(visit.correct, visit.parsed, visit.n_votes if self.unparsed else visit.parsed)

    def likelihood(self, counts: Counts) -> Floats:
        """ℓ(counts | cell): the probability of one order of these votes, shape (cells,)."""
        return np.asarray(self._order_likelihoods(np.array([counts]))[0])

    def table(self, max_votes: int, batch: tuple[int, ...], start: Counts = NO_COUNTS) -> CountTable:
        """All counts reachable from `start` by legal rounds up to `max_votes`."""
        grid = _vote_grid(start, max_votes, batch, bool(self.unparsed))
        return _table(grid.counts, self._order_likelihoods(np.array(grid.counts)), grid.entry, grid.levels)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"signal": "votes", "shapes": [list(pair) for pair in self.shapes], "unparsed": self.unparsed}

    def _order_likelihoods(self, counts: NDArray[np.int64]) -> Floats:
        """ℓ of many rows: B(a + c, b + t - c)/B(a, b), times the chance to be parsed; (rows, cells)."""
        c, t, n_votes = counts.T
        columns = [
            np.exp(_log_rise(a, c) + _log_rise(b, t - c) - _log_rise(a + b, t)) for a, b in self.shapes
        ]
        parse_chance = (1 - self.unparsed) ** t * self.unparsed ** (n_votes - t) if self.unparsed else 1.0
        return np.asarray(np.stack(columns, axis=1) * np.reshape(parse_chance, (-1, 1)))


class _VoteGrid(NamedTuple):
    """The counts of votes that a plan tells apart, whatever they say of an answer; see `CountTable`."""

    counts: list[Counts]
    entry: Floats
    levels: list[Level]


@lru_cache(maxsize=256)
def _vote_grid(start: Counts, max_votes: int, batch: tuple[int, ...], with_unparsed: bool) -> _VoteGrid:
    """All counts reachable from `start` by legal rounds up to `max_votes`."""
    levels = reachable_levels(start.n_votes, max_votes, batch)
    blocks = [_counts_of_level(start, level, with_unparsed) for level in levels]
    counts = np.concatenate(blocks)
    ends = np.cumsum([len(block) for block in blocks])
    rows = {
        level: slice(int(end) - len(block), int(end))
        for level, block, end in zip(levels, blocks, ends, strict=True)
    }
    entry = np.zeros(len(counts))
    entry[0] = 1.0
    grid = [
        Level(
            rows[b],
            tuple(Round(m, rows[b + m], _orders(counts[rows[b]], counts[rows[b + m]])) for m in votes),
        )
        for b, votes in levels.items()
    ]
    return _VoteGrid([Counts(*map(int, c)) for c in counts], entry, grid)


def _counts_of_level(start: Counts, n_votes: int, with_unparsed: bool) -> NDArray[np.int64]:
    """Rows (correct, parsed, n_votes) that `n_votes` votes can have led to."""
    new = n_votes - start.n_votes
    fewest = 0 if with_unparsed else new
    rows = [
        (start.value + c, start.parsed + p, n_votes) for p in range(fewest, new + 1) for c in range(p + 1)
    ]
    return np.array(rows, dtype=np.int64)


def _log_rise(x: float, n: NDArray[np.int64]) -> Floats:
    """Logarithm of x·(x + 1)···(x + n - 1), the rising factorial."""
    steps = np.log(x + np.arange(int(n.max(initial=0))))
    return np.concatenate(([0.0], np.cumsum(steps)))[n]


def reachable_levels(start: int, limit: int, batch: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Votes bought → legal sizes of the next round, rising; all that remain is always legal."""
    legal: dict[int, tuple[int, ...]] = {}
    waiting = {start}
    while waiting:
        n_votes = min(waiting)
        waiting.remove(n_votes)
        rest = limit - n_votes
        legal[n_votes] = tuple(sorted({m for m in (*batch, rest) if 0 < m <= rest}))
        waiting |= {n_votes + m for m in legal[n_votes]}
    return legal


_FACTORIALS = np.array([math.factorial(n) for n in range(MAX_PLANNED_VOTES + 1)], dtype=float)


def _orders(here: NDArray[np.int64], there: NDArray[np.int64]) -> Floats:
    """Multinomial coefficients between two levels of (correct, parsed, n_votes); 0 where impossible."""
    correct, parsed, n_votes = (there[None, :, :] - here[:, None, :]).transpose(2, 0, 1)
    parts = np.stack([correct, parsed - correct, n_votes - parsed])
    possible = (parts >= 0).all(axis=0)
    orders = _FACTORIALS[n_votes] / _FACTORIALS[np.where(possible, parts, 0)].prod(axis=0)
    return np.where(possible, np.rint(orders), 0.0)


class ConsistencyObservations(Struct, frozen=True, kw_only=True):
    """The plurality's count among k answers sampled together: a table per cell over 1..k.

    Attributes:
        probabilities: per cell (see `VoteObservations.shapes`), P(count = 1), …, P(count = k).
    """

    probabilities: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        _check_cells("consistency", self.probabilities)
        for cell in self.probabilities:
            check_distribution("consistency", cell)

    @property
    def k(self) -> int:
        """How many answers are sampled."""
        return len(self.probabilities[0])

    def counts(self, visit: Visit) -> Counts:
        """The plurality's count; when fewer answers came back, the same share of k."""
        if visit.parsed == 0:
            return NO_COUNTS
        count = visit.correct if visit.parsed == self.k else round(visit.correct * self.k / visit.parsed)
        return Counts(min(max(count, 1), self.k), self.k, self.k)

    def likelihood(self, counts: Counts) -> Floats:
        """P(count | cell), shape (cells,); 1 without evidence."""
        if not counts.parsed:
            return np.ones(len(self.probabilities))
        return np.array([cell[counts.value - 1] for cell in self.probabilities])

    def table(self, max_votes: int, batch: tuple[int, ...], start: Counts = NO_COUNTS) -> CountTable:
        """One row per count, each possible as soon as the tier is asked."""
        return _table_on_asking(self, [Counts(c + 1, self.k, self.k) for c in range(self.k)])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"signal": "consistency", "probabilities": [list(cell) for cell in self.probabilities]}


class ConfidenceObservations(Struct, frozen=True, kw_only=True):
    """A continuous confidence cut into bins: a table per cell over the bins.

    Bin j holds cuts[j-1] ≤ x < cuts[j]. `missing` is the chance per cell that no number
    comes. Where none was missing in fitting, a missing number is no evidence.

    Attributes:
        cuts: rising edges between the bins.
        probabilities: per cell (see `VoteObservations.shapes`), the chance of each bin.
        missing: per cell; () where none was missing.
        with_answer: the number comes with the answer, at no cost; otherwise it is bought as one vote.
    """

    cuts: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    missing: tuple[float, ...] = ()
    with_answer: bool = True

    def __post_init__(self) -> None:
        _check_cells("logprob", self.probabilities)
        if list(self.cuts) != sorted(set(self.cuts)):
            raise ValueError(f"logprob: cuts must rise, got {self.cuts}")
        for cell in self.probabilities:
            check_distribution("logprob", cell)
            if len(cell) != len(self.cuts) + 1:
                raise ValueError(f"logprob: {len(self.cuts)} cuts make {len(self.cuts) + 1} bins, got {cell}")
        if self.missing and (
            len(self.missing) != len(self.probabilities) or not all(0 <= m < 1 for m in self.missing)
        ):
            raise ValueError(f"logprob: one chance in [0, 1) to be missing per cell, got {self.missing}")

    def counts(self, visit: Visit) -> Counts:
        """The bin; the one past the last where a number was due and did not come."""
        if visit.signal is not None and not math.isnan(visit.signal):
            return Counts(int(np.searchsorted(self.cuts, visit.signal, side="right")), 1, 1)
        is_due = self.with_answer or visit.n_votes > 0
        return Counts(len(self.cuts) + 1, 1, 1) if is_due and self.missing else NO_COUNTS

    def likelihood(self, counts: Counts) -> Floats:
        """P(bin | cell), shape (cells,); 1 without evidence."""
        return np.array(self._columns()[counts.value]) if counts.parsed else np.ones(len(self.probabilities))

    def table(self, max_votes: int, batch: tuple[int, ...], start: Counts = NO_COUNTS) -> CountTable:
        """One row per bin, possible on asking or after one vote."""
        bins = [Counts(j, 1, 1) for j in range(len(self._columns()))]
        if self.with_answer:
            return _table_on_asking(self, bins)
        if max_votes < 1 or start.parsed:
            return one_row(self, start)
        likelihood = np.stack([self.likelihood(c) for c in [NO_COUNTS, *bins]])
        look = Round(1, slice(1, len(bins) + 1), np.ones((1, len(bins))))
        levels = [Level(slice(0, 1), (look,)), Level(look.to, ())]
        return _table([NO_COUNTS, *bins], likelihood, np.eye(len(bins) + 1)[0], levels)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "signal": "logprob",
            "cuts": list(self.cuts),
            "probabilities": [list(cell) for cell in self.probabilities],
            "missing": list(self.missing),
            "with_answer": self.with_answer,
        }

    def _columns(self) -> list[tuple[float, ...]]:
        """The chances per cell of each bin, then of "missing" where it occurred in fitting."""
        if not self.missing:
            return list(zip(*self.probabilities, strict=True))
        cells = [
            (*(p * (1 - m) for p in cell), m)
            for cell, m in zip(self.probabilities, self.missing, strict=True)
        ]
        return list(zip(*cells, strict=True))


class NoObservations(Struct, frozen=True):
    """A tier whose answers are not verified."""

    def counts(self, visit: Visit) -> Counts:
        """No evidence, whatever the visit."""
        return NO_COUNTS

    def likelihood(self, counts: Counts) -> Floats:
        """No evidence."""
        return np.ones(2)

    def table(self, max_votes: int, batch: tuple[int, ...], start: Counts = NO_COUNTS) -> CountTable:
        """The one row."""
        return one_row(self, NO_COUNTS)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"signal": "none"}


NO_OBSERVATIONS = NoObservations()

ObservationModel: TypeAlias = (
    VoteObservations | ConsistencyObservations | ConfidenceObservations | NoObservations
)


def _table_on_asking(model: ObservationModel, counts: list[Counts]) -> CountTable:
    likelihood = np.stack([model.likelihood(c) for c in counts])
    return _table(counts, likelihood, np.ones(len(counts)), [Level(slice(0, len(counts)), ())])


def one_row(model: ObservationModel, counts: Counts) -> CountTable:
    """A table that stays where it is."""
    return _table([counts], model.likelihood(counts)[None], np.ones(1), [Level(slice(0, 1), ())])


def _read_votes(row: Mapping[str, Any]) -> ObservationModel:
    return VoteObservations(shapes=_cells(row["shapes"]), unparsed=float(row["unparsed"]))


def _read_consistency(row: Mapping[str, Any]) -> ObservationModel:
    return ConsistencyObservations(probabilities=_cells(row["probabilities"]))


def _read_confidence(row: Mapping[str, Any]) -> ObservationModel:
    return ConfidenceObservations(
        cuts=tuple(map(float, row["cuts"])),
        probabilities=_cells(row["probabilities"]),
        missing=tuple(map(float, row["missing"])),
        with_answer=bool(row["with_answer"]),
    )


_READERS: Mapping[Signal | Literal["none"], Callable[[Mapping[str, Any]], ObservationModel]] = {
    "votes": _read_votes,
    "logprob": _read_confidence,
    "consistency": _read_consistency,
    "none": lambda row: NoObservations(),
}


def observations_from_dict(row: Mapping[str, Any]) -> ObservationModel:
    """Read what `to_dict` of an observation model wrote.

    Raises:
        DataError: unknown signal, missing key, or numbers that are no distribution.
    """
    signal = row.get("signal")
    try:
        read = _READERS[signal]  # type: ignore[index]
    except (KeyError, TypeError):
        raise DataError(f"observations: unknown signal {signal!r}") from None
    try:
        return read(row)
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"observations of signal {signal}: {reading_problem(exc)}") from exc


def _cells(rows: Any) -> tuple[Any, ...]:
    return tuple(tuple(float(x) for x in row) for row in rows)


def lost_votes(observation: ObservationModel, visit: Visit) -> int:
    """Votes bought that the model's counts do not show: each takes one off the tier's max_votes."""
    return max(0, visit.n_votes - observation.counts(visit).n_votes)
