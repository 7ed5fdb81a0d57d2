"""What rows that were drawn for a comparison with the baseline tell of all rows.

Where the answer of a row equals the baseline's, both are right or both are wrong, whatever the truth. So
the share of rows whose answer differs bounds what is lost against the baseline, with no label at all;
scores of differing rows, where there are any, say how much of it is lost. All bounds hold at every look
(`sequences`). After `WINDOW` comparisons a new window starts, so that a change shows however long the
past was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from statistics import fmean, variance
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field

from automix_cli import scoring
from automix_cli.data.answer_rows import AnswerRow, ShadowComparison
from automix_cli.data.draws import uniform
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.sequences import ShareBounds, mean_bound, share_bounds, share_move, share_rise
from automix_cli.fitting.drift import DRIFT_SHARE, Drift, fitted_rates
from automix_cli.fitting.router_block import differing_share, held_out_cost, own_cost
from automix_cli.texts import count_of
from automix_cli.usage import add_money

WINDOW = 1_000
"""Comparisons after which a new window starts."""

ALPHA = 0.05
"""The chance that a bound is ever wrong in a window, and that any warning is ever false in all of them."""

_DRIFT_ALPHA = 0.01  # the part of that for votes and escalations; the rest is for rows that differ
_FEWEST_PRICES = 5  # answers drawn before anything is said of their spread
_FEWEST_DIFFERING = 3  # rows before a warning: one can refute a tiny share, and convinces nobody


# ---------------------------------------------------------------- what an audit says


class Loss(NamedTuple):
    """Points of score lost against the baseline, as a mean over the rows compared.

    Differing rows without a score count as lost for `high` and as won for `low`.

    Attributes:
        low, high: of the mean, each wrong with a chance of at most `ALPHA` over all looks.
        differing, with_scores: rows whose answers differ, and those of them with scores.
    """

    low: float
    high: float
    differing: int
    with_scores: int


class AuditWindow(Struct, frozen=True):
    """Up to `WINDOW` comparisons in a row.

    Attributes:
        bounds: of the share of rows whose answer differs from the baseline's, among those compared.
        missing: drawn rows whose shadow call failed: they are not among those.
        most: the upper bound of that share on all rows, with the missing ones counted as differing.
        without_answer: rows to which the baseline has no answer; nothing is lost there.
        loss: None where no differing row has a score.
        warning_at: the comparison at which more rows differed than when fitted; None for none.
    """

    bounds: ShareBounds
    without_answer: int
    loss: Loss | None
    warning_at: int | None
    missing: int = 0
    most: float = 1.0


class AuditSavings(NamedTuple):
    """List prices in dollars of all finished rows; None where one is unknown.

    Attributes:
        cost: of the rows, votes included, without shadow calls.
        shadow: of the shadow calls.
        baseline: of the baseline on all rows, had it alone been asked.
        error: half the width of its 95 % interval; None where too few rows were drawn to tell.
        estimated_rows: rows on which it was not asked.
    """

    cost: float | None
    shadow: float | None
    baseline: float | None
    error: float | None
    estimated_rows: int

    @property
    def saving(self) -> float | None:
        """Dollars below the baseline, net of votes and shadow calls."""
        if self.baseline is None or self.cost is None or self.shadow is None:
            return None
        return self.baseline - self.cost - self.shadow


class FitFacts(NamedTuple):
    """What calibration said of the router, as far as an audit compares it.

    Attributes:
        router: the profile's `router:` block.
        baseline: the tier compared with.
    """

    router: Mapping[str, Any]
    baseline: str

    @property
    def differing(self) -> tuple[float, float] | None:
        """On how many of how many questions the answer differed from the baseline's; None where unknown."""
        return differing_share(self.router, self.baseline)

    @property
    def saving(self) -> float | None:
        """The share of the baseline's cost that was saved by what is written; None where unknown."""
        own, alone = own_cost(self.router), held_out_cost(self.router, f"always:{self.baseline}")
        return None if own is None or not alone else 1 - own / alone


class Audit(Struct, frozen=True, kw_only=True):
    """What rows drawn for a comparison tell.

    Attributes:
        baseline: the tier compared with.
        rows, incomplete: rows that came to their end, and the others, which are left out.
        repeats: rows with the id and the question of an earlier one, left out, too.
        missing: drawn rows whose shadow call failed; upper bounds count them as differing.
        omissions: rows that the draw takes, and that were not compared: they were answered without it.
        windows: at least one, the last one open.
        fit: None where the profile that wrote the rows is not at hand.
        drifts: shares that are no longer as when fitted; None where they cannot be compared.
        to_label: differing rows without a score.
        profiles: short hashes of the profiles that wrote the rows.
        files_left_out: none of whose rows was compared, so that nothing here is said of them.
    """

    baseline: str
    rows: int
    incomplete: int
    repeats: int
    missing: int
    omissions: int
    windows: tuple[AuditWindow, ...]
    savings: AuditSavings
    fit: FitFacts | None
    drifts: tuple[Drift, ...] | None
    to_label: tuple[AnswerRow, ...]
    profiles: tuple[str, ...]
    files_left_out: tuple[str, ...] = ()

    @property
    def comparisons(self) -> int:
        """Rows compared, over all windows."""
        return sum(window.bounds.n for window in self.windows)

    @property
    def has_warning(self) -> bool:
        """Whether anything is no longer as it was when fitted."""
        return bool(self.drifts) or any(window.warning_at is not None for window in self.windows)


# ---------------------------------------------------------------- how it comes about


def audit(
    rows: Iterable[AnswerRow],
    *,
    baseline: str | None = None,
    router: Mapping[str, Any] | None = None,
    scorer: str | None = None,
) -> Audit:
    """Read rows in the order in which they were answered.

    Args:
        rows: as `ask` wrote them.
        baseline: the tier to compare with; None takes the one that the rows were compared with.
        router: the `router:` block of the profile that wrote them; None where it is not at hand.
        scorer: scores rows that say what is expected; None leaves them without a score.

    Raises:
        DataError: no row was compared.
        UsageError: rows were compared with several baselines, or drawn with several shares.
    """
    stream = iter(rows)
    start: list[AnswerRow] = []
    while baseline is None:
        row = next(stream, None)
        if row is None:
            raise _no_comparison(len(start), None)
        start.append(row)
        baseline = row.comparison and row.comparison.tier
    auditor = _Auditor(baseline, None if router is None else FitFacts(router, baseline), scorer)
    for row in chain(start, stream):
        auditor.add(row)
    if not (auditor.windows or auditor.current.n or auditor.missing):
        raise _no_comparison(auditor.rows, baseline, auditor.repeats)
    return auditor.result()


def _no_comparison(rows: int, baseline: str | None, repeats: int = 0) -> DataError:
    what = "a baseline" if baseline is None else baseline
    problem = f"none of {rows:,} rows was compared with {what}"
    if repeats:
        others = f"{count_of(repeats, 'row')} more, left out: the same id and question as an earlier one"
        return DataError(f"{problem}; {others}", hint="audit the rows that were answered with --shadow alone")
    return DataError(
        problem,
        hint="automix ask -i questions.jsonl -o answers.jsonl --shadow 0.02 compares 2 % of them",
    )


def drifts_at_every_look(
    fitted: Mapping[str, tuple[int, int]], observed: Mapping[str, tuple[int, int]]
) -> tuple[Drift, ...]:
    """Shares that moved by over 5 points; the chance that any is ever named for nothing is 1 %.

    A test for one look would be wrong far more often, since an audit is looked at again and again.

    Args:
        fitted: (hits, cases) by name, of the held-out rows at fitting.
        observed: the same of all rows so far.

    Example:
        >>> drifts_at_every_look({"escalated": (310, 1000)}, {"escalated": (61, 100)})[0].name
        'escalated'
        >>> drifts_at_every_look({"escalated": (20, 1000)}, {"escalated": (1, 2)})
        ()
    """
    both = [(name, *fitted[name], *observed[name]) for name in fitted if name in observed]
    moves = (
        Drift(name, k / n, hits / cases, 1 / max(share_move(k, n, hits, cases), 1.0))
        for name, hits, cases, k, n in both
        if cases and n
    )
    return tuple(
        d for d in moves if d.p <= _DRIFT_ALPHA / len(both) and abs(d.observed - d.fitted) > DRIFT_SHARE
    )


class _OpenWindow(Struct):
    """A window while it fills; losses are bounds of each row's."""

    differing: int = 0
    n: int = 0
    without_answer: int = 0
    missing: int = 0
    with_scores: int = 0
    least: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)
    warning_at: int | None = None

    def close(self) -> AuditWindow:
        """The bounds so far."""
        loss = None
        if self.with_scores:
            high, low = mean_bound(np.array(self.most), ALPHA), -mean_bound(-np.array(self.least), ALPHA)
            loss = Loss(low, high, self.differing, self.with_scores)
        bounds = share_bounds(self.differing, self.n, ALPHA)
        most = share_bounds(self.differing + self.missing, self.n + self.missing, ALPHA).high
        return AuditWindow(bounds, self.without_answer, loss, self.warning_at, self.missing, most)


class _Prices(Struct):
    """What the baseline cost on some rows: all amounts that are known, and those of a random part."""

    rows: int = 0
    amounts: list[float] = field(default_factory=list)
    random: list[float] = field(default_factory=list)
    is_priced: bool = True

    @property
    def others(self) -> int:
        """Rows on which its cost is not known."""
        return self.rows - len(self.amounts)

    def total(self) -> float | None:
        """Dollars on all rows; None where nothing is known of some."""
        if self.others and not (self.random and self.is_priced):
            return None
        return math.fsum(self.amounts) + (self.others * fmean(self.random) if self.others else 0.0)

    def error(self, least_variance: float) -> float | None:
        """Half the width of a 95 % interval of the total; None where too few rows were drawn.

        Costs have long tails, which few rows do not show: so the spread is at least that of all answers
        known, and Student's t takes the place of the normal distribution.
        """
        count = len(self.random)
        if not self.others:
            return 0.0
        if count < _FEWEST_PRICES:
            return None
        spread = max(variance(self.random), least_variance)
        quantile = 1.96 + 2.37 / (count - 1)  # of Student's t, to the first order
        return quantile * self.others * math.sqrt(spread / count * (1 + count / self.others))


class _Auditor:
    """Counts row after row."""

    def __init__(self, baseline: str, fit: FitFacts | None, scorer: str | None) -> None:
        self.baseline, self.fit, self.scorer = baseline, fit, scorer
        self.rows = self.incomplete = self.repeats = self.missing = self.escalated = 0
        self.share: float | None = None
        self.seeds: set[int | None] = set()
        self._without_comparison: list[str | int] = []
        self._keys: set[int] = set()
        self.windows: list[AuditWindow] = []
        self.current = _OpenWindow()
        self.cost: float | None = 0.0
        self.shadow: float | None = 0.0
        self.prices = {True: _Prices(), False: _Prices()}  # of rows that called the baseline, and of others
        self.first_votes: dict[str, list[int]] = {}
        self.to_label: list[AnswerRow] = []
        self.profiles: dict[str, None] = {}

    def add(self, row: AnswerRow) -> None:
        """Count one row; a row that comes again tells nothing new."""
        if not row.is_finished:
            self.incomplete += 1
            return
        key = hash((str(row.question.id), row.question.text, row.question.context))
        if key in self._keys:
            self.repeats += 1
            return
        self._keys.add(key)
        self.rows += 1
        self.profiles[row.profile_sha] = None
        self.cost = add_money(self.cost, row.cost_usd)
        self.escalated += len(row.route) > 1
        for step in row.route:
            if step.first_vote is not None:
                counts = self.first_votes.setdefault(step.tier, [0, 0])
                counts[0] += step.first_vote
                counts[1] += 1
        comparison = row.comparison
        self._add_price(row, comparison)
        if comparison is not None:
            self._compare(row, comparison)
        else:
            self._without_comparison.append(row.question.id)

    def _add_price(self, row: AnswerRow, comparison: ShadowComparison | None) -> None:
        step = next((step for step in row.route if step.tier == self.baseline), None)
        prices = self.prices[step is not None]
        prices.rows += 1
        usd = step.cost_usd if step is not None and step.is_plain else None
        if comparison is not None and comparison.tier == self.baseline and not comparison.is_failed:
            usd = comparison.answer_usd
            prices.is_priced &= usd is not None
            prices.random += [] if usd is None else [usd]
        if usd is not None:
            prices.amounts.append(usd)

    def _compare(self, row: AnswerRow, comparison: ShadowComparison) -> None:
        if comparison.tier != self.baseline:
            raise UsageError(
                f"{row.place}: was compared with {comparison.tier}, and rows before it with {self.baseline}",
                hint="audit the rows of each baseline apart",
            )
        self.share = comparison.share if self.share is None else self.share
        if comparison.share != self.share:
            raise UsageError(
                f"{row.place}: was drawn with a share of {comparison.share:g}, and rows before it of "
                f"{self.share:g}: together they say nothing of all rows",
                hint="audit the rows of each --shadow apart",
            )
        self.seeds.add(comparison.seed)
        self.shadow = add_money(self.shadow, comparison.cost_usd)
        if comparison.is_failed:
            self.missing += 1
            self.current.missing += 1
            self.current.least.append(
                -1.0
            )  # it may be won or lost: nothing is known of the baseline's answer
            self.current.most.append(1.0)
            return
        window, scores = self.current, self._scores(row, comparison)
        window.n += 1
        window.without_answer += comparison.equal is None
        least, most = {True: (0.0, 0.0), None: (-1.0, 0.0), False: (-1.0, 1.0)}[comparison.equal]
        if scores is not None:
            least = most = scores[1] - scores[0]
        window.least.append(least)
        window.most.append(most)
        if comparison.equal is False:
            window.differing += 1
            window.with_scores += scores is not None
            if scores is None:
                self.to_label.append(row)
            self._warn()
        if window.n == WINDOW:
            self.windows.append(window.close())
            self.current = _OpenWindow()

    def _scores(self, row: AnswerRow, comparison: ShadowComparison) -> tuple[float, float] | None:
        """The scores of the row and of the baseline, where both are known."""
        if row.tier in row.scores and self.baseline in row.scores:
            return row.scores[row.tier or ""], row.scores[self.baseline]
        expected, choices = row.question.expected, row.question.choices
        if self.scorer is None or not expected:
            return None
        own, other = (
            0.0 if text is None else scoring.score(text, expected, self.scorer, choices)
            for text in (row.answer, comparison.answer)
        )
        return own, other

    def _warn(self) -> None:
        """Note where more rows differ than when fitted."""
        window, number = self.current, len(self.windows) + 1
        shares = None if self.fit is None else self.fit.differing
        if shares is None or window.warning_at is not None:
            return
        alpha = (ALPHA - _DRIFT_ALPHA) / (number * (number + 1))  # adds up over all windows
        capital = share_rise(window.differing, window.n, *shares)
        if window.differing >= _FEWEST_DIFFERING and capital >= 1 / alpha:
            window.warning_at = window.n

    # ------------------------------------------------------------ the end

    def result(self) -> Audit:
        """What the rows so far tell."""
        is_open = self.current.n or not self.windows
        rates = fitted_rates(self.fit and self.fit.router)
        return Audit(
            baseline=self.baseline,
            rows=self.rows,
            incomplete=self.incomplete,
            repeats=self.repeats,
            missing=self.missing,
            omissions=self._omissions(),
            windows=(*self.windows, *([self.current.close()] if is_open else [])),
            savings=self._savings(),
            fit=self.fit,
            drifts=None if self.fit is None else drifts_at_every_look(rates, self._rates()),
            to_label=tuple(self.to_label),
            profiles=tuple(self.profiles),
        )

    def _omissions(self) -> int:
        """How many rows the draw takes that were not compared; 0 where rows do not agree on the draw."""
        seed = next(iter(self.seeds)) if len(self.seeds) == 1 else None
        if seed is None or self.share is None:
            return 0
        return sum(uniform("shadow", seed, ident) < self.share for ident in self._without_comparison)

    def _rates(self) -> dict[str, tuple[int, int]]:
        first = {tier: (hits, cases) for tier, (hits, cases) in self.first_votes.items()}
        return {"escalated": (self.escalated, self.rows), **first}

    def _savings(self) -> AuditSavings:
        parts = list(self.prices.values())
        amounts = [usd for prices in parts for usd in prices.amounts]
        totals, least = [prices.total() for prices in parts], variance(amounts) if len(amounts) > 1 else 0.0
        errors = [prices.error(least) for prices in parts]
        sums = [total for total in totals if total is not None]
        widths = [error for error in errors if error is not None]
        is_known = len(sums) == len(totals)
        return AuditSavings(
            cost=self.cost,
            shadow=self.shadow,
            baseline=math.fsum(sums) if is_known else None,
            error=math.hypot(*widths) if is_known and len(widths) == len(errors) else None,
            estimated_rows=sum(prices.others for prices in parts),
        )
