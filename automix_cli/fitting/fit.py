"""Fit the router's model to recorded traces: counts, parameters, and how each is estimated.

`fit` takes rows that score every tier and returns a `Fitted`, which the profile's `router:`
block stores.

Every estimate is shrunk, so that few rows change little. Priors over states are counts plus
pseudo-counts, as many as leave-one-out likelihood asks for; votes are BetaBinomials with a
prior on both parameters; shares right over neighbouring bins are curves as stiff as held-out
likelihood asks for; mean scores are shrunk towards 1 and 0. Copies of
a question weigh as one question against what an estimate is shrunk towards. Without rows
every state is equally likely and no signal is used. Rows on which a tier failed tell how often it
does, and what that costs; its scores and its signal are fitted on the others.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from automix_cli.data.folds import folds_of
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.fitting.agreement import Answers, fit_agreement
from automix_cli.fitting.confidence import LAST_MARGIN, fit_bins, quantile_cuts
from automix_cli.fitting.fitted import Fitted, FittedTier, Scores, as_probabilities
from automix_cli.fitting.prior import (
    GroupedCounts,
    choose_alpha,
    choose_kappa,
    choose_kappa_by_group,
    choose_trust,
    count_states,
    trust_likelihood,
)
from automix_cli.fitting.router_block import Settings
from automix_cli.fitting.votes import fit_shapes, votes_log_likelihood
from automix_cli.pomdp.agreement import AgreementModel
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.model import FREE, Cost
from automix_cli.pomdp.observations import (
    NO_OBSERVATIONS,
    ConfidenceObservations,
    ConsistencyObservations,
    ObservationModel,
    VoteObservations,
)
from automix_cli.pomdp.signals import SIGNAL_FACTS
from automix_cli.texts import count_of

LEAST_SIGNAL_ANSWERS = 5  # to different questions, right ones and wrong ones, for a signal to be used
CELL_PSEUDO_ROWS = 20.0  # with which a cell (s_i, s_N) is shrunk towards the fit of its s_i
TRUST_MARGIN = 1.35  # of log-likelihood: chance alone gives one parameter more in one of twenty cases
TEST_FOLDS = 5  # of the test whether the last tier's rightness shows in a signal
TEST_SLOPE = 1e-7  # of the shapes in that test: nearer to the top, rounding hides which way leads up


def last_tier_shows(counts: Floats) -> bool:
    """Whether votes are clearly likelier, on held-out folds, when the last tier's rightness is looked at too.

    By the same margin as for a confidence, since both questions are the same.

    Args:
        counts: rows by (fold, 2·s_i + s_N, correct, parsed), shape (folds, 4, T + 1, T + 1).
    """
    train = counts.sum(axis=0) - counts
    own = train.reshape(len(train), 2, 2, *train.shape[2:]).sum(axis=2)
    four_cells = np.stack([_shrink_to_own(fold) for fold in train])
    two, four = np.split(_log_likelihoods(np.concatenate([own, four_cells], axis=1)), [2], axis=1)
    return bool((counts * (four - np.repeat(two, 2, axis=1))).sum() > LAST_MARGIN)


def _log_likelihoods(counts: Floats) -> Floats:
    """Log ℓ(c, t) under the shapes fitted to each fold and cell; the shape of `counts`."""
    most = counts.shape[-1] - 1
    shapes = fit_shapes(counts.reshape(-1, most + 1, most + 1), TEST_SLOPE)
    return votes_log_likelihood(shapes, most).reshape(counts.shape)


def _shrink_to_own(counts: Floats) -> Floats:
    """Counts of four cells, each with pseudo-rows from its s_i; shape (4, …)."""
    pairs = counts.reshape(2, 2, *counts.shape[1:])
    own = pairs.sum(axis=1)
    rows = own.reshape(2, -1).sum(axis=1).reshape(2, *(1,) * (own.ndim - 1))
    cells = pairs + CELL_PSEUDO_ROWS * (own / np.maximum(rows, 1e-300))[:, None]
    return np.asarray(cells.reshape(counts.shape))


# ------------------------------------------------------------------ one tier


class Labels(NamedTuple):
    """What is known of n rows when a tier's signal is fitted.

    Attributes:
        right: n, 1 where the tier is right.
        last: n, the same of the last tier; None for the last tier itself.
        fold: n, of `TEST_FOLDS`, rows of one question in one.
        weight: of a row, so that rows count as their questions; 1 where no question has copies.
    """

    right: Ints
    last: Ints | None
    fold: Ints
    weight: float = 1.0

    def on_rows(self, rows: NDArray[np.bool_]) -> Labels:
        """Return the same of some rows."""
        last = None if self.last is None else self.last[rows]
        return Labels(self.right[rows], last, self.fold[rows], self.weight)


def fit_votes(correct: Ints, parsed: Ints, vote_counts: Ints, labels: Labels) -> VoteObservations:
    """A tier's votes from rows with all their recorded votes counted.

    Args:
        correct: votes per row that say CORRECT, shape (n,).
        parsed: votes that say something.
        vote_counts: all votes, those that say nothing too.
        labels: of the rows.
    """
    most = int(parsed.max(initial=0))
    n_unparsed = int(vote_counts.sum() - parsed.sum())
    rate = (n_unparsed + 0.5) / (int(vote_counts.sum()) + 1) if n_unparsed else 0.0
    codes = (most + 1) ** 2
    counts = _cell_counts(correct * (most + 1) + parsed, codes, labels).reshape(
        TEST_FOLDS, 4, most + 1, most + 1
    )
    total = counts.sum(axis=0)
    if labels.last is not None and last_tier_shows(counts):
        cells = _shrink_to_own(total)
    else:
        cells = total.reshape(2, 2, most + 1, most + 1).sum(axis=1)
    shapes = fit_shapes(cells)
    return VoteObservations(shapes=tuple((float(a), float(b)) for a, b in shapes), unparsed=rate)


def _cell_counts(code: Ints, codes: int, labels: Labels) -> Floats:
    """Weights of rows by (fold, 2·s_i + s_N, code); where s_N is not known, it is s_i."""
    cell = 2 * labels.right + (labels.right if labels.last is None else labels.last)
    places = (labels.fold * 4 + cell) * codes + code
    rows = np.bincount(places, minlength=TEST_FOLDS * 4 * codes).reshape(TEST_FOLDS, 4, codes)
    return np.asarray(labels.weight * rows)


def _fit_table(code: Ints, bins: int, labels: Labels) -> tuple[tuple[float, ...], ...]:
    """Distributions over bins, per cell."""
    counts = _cell_counts(code, bins, labels)
    return tuple(as_probabilities(cell) for cell in fit_bins(counts, alone=labels.last is None))


def fit_consistency(count: Ints, k: int, labels: Labels) -> ConsistencyObservations:
    """The plurality's count among k samples, per row (1..k)."""
    return ConsistencyObservations(probabilities=_fit_table(np.clip(count, 1, k) - 1, k, labels))


def fit_confidence(values: Floats, labels: Labels, *, with_answer: bool) -> ConfidenceObservations:
    """A continuous confidence, NaN where it is missing."""
    is_known = ~np.isnan(values)
    cuts = quantile_cuts(values[is_known], labels.weight)
    code = np.searchsorted(cuts, values[is_known], side="right")
    table = _fit_table(code, len(cuts) + 1, labels.on_rows(is_known))
    missing: tuple[float, ...] = ()
    if not is_known.all():
        right, last, _, weight = labels
        cell = right if len(table) == 2 or last is None else 2 * right + last
        n_missing, n_all = (
            weight * np.bincount(own, minlength=len(table)) for own in (cell[~is_known], cell)
        )
        missing = tuple(map(float, (n_missing + 0.5) / (n_all + 1)))
    return ConfidenceObservations(cuts=cuts, probabilities=table, missing=missing, with_answer=with_answer)


def fit_cost(dollars: Floats, tokens: Floats) -> Cost:
    """Fit the dollars of a call as a + b·(prompt tokens), by least squares.

    Without token counts, or with a slope within two standard errors of 0, it is the mean.

    Example:
        >>> fit_cost(np.array([1.0, 3.0]), np.array([np.nan, np.nan]))
        Cost(fixed=2.0, per_token=0.0)
    """
    is_known = ~np.isnan(dollars)
    y = dollars[is_known]
    if not len(y):
        return FREE
    flat = Cost(float(y.mean()))
    x = tokens[is_known]
    if len(y) < 10 or np.isnan(x).any() or float(x.std()) < 1e-9:
        return flat
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread))
    residual = y - y.mean() - slope * spread
    error = math.sqrt(float(residual @ residual) / (len(y) - 2) / float(spread @ spread))
    if slope <= 2 * error:
        return flat
    constant = float(y.mean() - slope * x.mean())
    return Cost(constant, slope) if constant >= 0 else Cost(0.0, float(y.mean() / x.mean()))


# ------------------------------------------------------------------ the whole table


def fit(table: TraceTable, settings: Settings) -> Fitted:
    """Learn the model from recorded rows that score every tier.

    Args:
        table: the rows, with their query-side classes; also none, or one.
        settings: what the profile decides.

    Raises:
        DataError: when a cost that a plan needs is not recorded on any row.
    """
    right = (table.score >= settings.pass_score).astype(np.intp)
    counts = count_states(right, table.failed, _classes(table), table.n_classes).round(4)
    # Copies of a question count as one, or a row left out would be foretold by its copies.
    copies = max(len(table), 1) / max(table.n_groups, 1)
    alpha = copies * choose_alpha(counts.sum(axis=0) / copies)
    tokens, mean_tokens = _prompt_tokens(table)
    fitted = Fitted(
        tiers=tuple(_fit_tier(table, j, right, tokens, settings) for j in range(len(table.tiers))),
        counts=tuple(tuple(map(float, row)) for row in counts),
        alpha=alpha,
        kappa=_fit_kappa(table, right, counts, alpha) if table.n_classes > 1 else 0.0,
        mean_tokens=mean_tokens,
        classes=table.named_classes,
        agreement=_fit_agreement_of(table, right, settings),
    )
    return fitted if table.question_logits is None else replace(fitted, trust=_trust(fitted, table, right))


def _trust(fitted: Fitted, table: TraceTable, right: Ints) -> float:
    """How far the router's held-out logits make the rows likeliest."""
    assert table.question_logits is not None
    return choose_trust(_row_priors(fitted, table), table.question_logits, right, table.failed)


def tells_questions_apart(fitted: Fitted, table: TraceTable, settings: Settings) -> bool:
    """Whether the rows are clearly likelier with what a query-side router that never saw their labels says.

    Args:
        fitted: to these rows.
        table: rows with `question_logits`.
        settings: as in the fit.
    """
    if table.question_logits is None or not fitted.trust:
        return False
    right = (table.score >= settings.pass_score).astype(np.intp)
    own = _row_priors(fitted, table), table.question_logits, right, table.failed
    return trust_likelihood(*own, fitted.trust) - trust_likelihood(*own, 0.0) > TRUST_MARGIN


def _row_priors(fitted: Fitted, table: TraceTable) -> Floats:
    """The prior of each row without a query-side router, n×2^N."""
    return np.array(fitted.priors())[_classes(table)]


def _fit_agreement_of(table: TraceTable, right: Ints, settings: Settings) -> AgreementModel | None:
    """The chances that answers are equal, where they are compared and that is worth knowing."""
    if not (settings.agreement and table.compares_answers and len(table)):
        return None
    return fit_agreement(Answers(table.first_equal, right), folds_of(table, TEST_FOLDS, seed=0))


def _classes(table: TraceTable) -> Ints:
    """The class of each row."""
    return np.zeros(len(table), dtype=np.intp) if table.question_classes is None else table.question_classes


def _fit_kappa(table: TraceTable, right: Ints, counts: Floats, alpha: float) -> float:
    """How much the priors of classes are drawn to that of all rows, copies of a question left out together.

    The rows of no named class are in the prior of all rows, and in none that is drawn to it.
    """
    n_classes = table.n_classes - (table.named_classes is not None)
    if table.n_groups == len(table):
        return choose_kappa(counts[:n_classes], alpha, counts.sum(axis=0))
    codes = table.groups * table.n_classes + _classes(table)
    cells, cell_of = np.unique(codes, return_inverse=True)
    own = count_states(right, table.failed, cell_of.reshape(-1), len(cells))
    cell_counts = GroupedCounts(own, cells // table.n_classes, cells % table.n_classes)
    return choose_kappa_by_group(cell_counts, n_classes, alpha)


def _prompt_tokens(table: TraceTable) -> tuple[Floats, float]:
    """Prompt tokens per row and their mean; where no tier counted them because it failed, the mean."""
    tokens = table.prompt_tokens
    absent = np.isnan(tokens)
    if absent.all():
        return tokens, 0.0
    mean = float(tokens[~absent].mean())
    if not absent.any():
        return tokens, mean
    return np.where(absent & table.failed.any(axis=1), mean, tokens), mean


def _fit_tier(
    table: TraceTable, j: int, right: NDArray[np.intp], tokens: Floats, settings: Settings
) -> FittedTier:
    score, answered = table.score[:, j], ~table.failed[:, j]
    own, others = answered & (right[:, j] == 1), answered & (right[:, j] == 0)
    n_failed = len(table) - int(np.count_nonzero(answered))
    looked_at = j < len(table.tiers) - 1 or settings.last_tier or settings.abstain_value is not None
    observation, max_votes, note = (
        _fit_signal(table, j, right, settings) if looked_at else (NO_OBSERVATIONS, 0, "")
    )
    latency = table.latency[:, j]
    seconds = float(np.nanmean(latency)) if (~np.isnan(latency)).any() else 0.0
    return FittedTier(
        name=table.tiers[j],
        right=Scores(float(score[own].sum()), int(np.count_nonzero(own))),
        wrong=Scores(float(score[others].sum()), int(np.count_nonzero(others))),
        observation=observation,
        max_votes=max_votes,
        failed=(n_failed + 0.5) / (len(table) + 1) if n_failed else 0.0,
        answer=_fit_known_cost(
            table.cost[:, j], tokens, f"an answer of tier {table.tiers[j]!r}", f"--costs {table.tiers[j]}=1"
        ),
        vote=_vote_cost(table, j, tokens) if max_votes else FREE,
        round=fit_cost(table.round_cost[:, j], tokens) if max_votes else FREE,
        answer_s=seconds,
        round_s=seconds if max_votes else 0.0,
        note=note,
    )


def _vote_cost(table: TraceTable, j: int, tokens: Floats) -> Cost:
    name = table.tiers[j]
    return _fit_known_cost(
        table.vote_cost[:, j], tokens, f"a vote of tier {name!r}", f"--vote-costs {name}=1"
    )


def _fit_known_cost(dollars: Floats, tokens: Floats, what: str, hint: str) -> Cost:
    if len(dollars) and np.isnan(dollars).all():
        raise DataError(f"no row records what {what} costs", hint=hint)
    return fit_cost(dollars, tokens)


def _fit_signal(
    table: TraceTable, j: int, right: NDArray[np.intp], settings: Settings
) -> tuple[ObservationModel, int, str]:
    """A tier's observation model, how many votes may be planned, and what went wrong."""
    most = min(settings.max_votes, table.max_votes[j])
    table, own, last = _rows_with_answers(table, j, right)
    signal, usable = SIGNAL_FACTS[table.signals[j]], _usable(table, j)
    weight = max(table.n_groups, 1) / max(len(table), 1)
    labels = Labels(own, last, folds_of(table, TEST_FOLDS, seed=0), weight)
    wrong_and_right = [int(np.bincount(table.groups[usable & (own == s)]).astype(bool).sum()) for s in (0, 1)]
    if not usable.any():
        return NO_OBSERVATIONS, 0, _why_no_evidence(table, j) if len(table) else ""
    if min(wrong_and_right) < LEAST_SIGNAL_ANSWERS:
        kind = "wrong" if wrong_and_right[0] <= wrong_and_right[1] else "right"
        count = count_of(min(wrong_and_right), table.grouping.noun)
        few = f"only {count} with {kind} answers, {LEAST_SIGNAL_ANSWERS} needed"
        return NO_OBSERVATIONS, 0, f"{signal.evidence} not used: {few}"
    if signal.purchase == "rounds":
        fewer = (
            f"at most {most} votes are planned: some row holds no more" if most < settings.max_votes else ""
        )
        return _fit_votes_of(table, j, labels), most, fewer
    if signal.of_samples:
        k = int(np.median(table.sample_counts[:, j]))
        agreeing = np.rint(table.confidence[:, j] * k).astype(np.intp)
        return fit_consistency(agreeing, k, labels), 0, ""
    model = fit_confidence(table.confidence[:, j], labels, with_answer=signal.with_answer)
    return model, min(settings.max_votes, signal.max_votes(settings.max_votes)), ""


def _why_no_evidence(table: TraceTable, j: int) -> str:
    """Why no row shows anything of a tier's signal: nothing is recorded, or nothing of it could be read."""
    evidence, votes = SIGNAL_FACTS[table.signals[j]].evidence, table.votes[:, j].sum(axis=0)
    if not votes.any():
        return f"no {evidence} recorded"
    unread = "" if votes[:2].any() else f"none of {count_of(int(votes[2]), 'recorded vote')} could be read"
    if table.signals[j] == "votes":
        return f"votes not used: {unread}; automix verify --explain shows a reply"
    with_votes = int(table.votes[:, j].any(axis=1).sum())
    beside = f"votes are on {with_votes:,} of {count_of(len(table), 'answer')}"
    return f"no {evidence} recorded; {beside}{unread and f', and {unread}'}"


def _rows_with_answers(
    table: TraceTable, j: int, right: NDArray[np.intp]
) -> tuple[TraceTable, Ints, Ints | None]:
    """The rows that a tier's signal is fitted on, and where it and the last tier are right on them.

    Where the last tier failed, its rightness is unknown: such rows are left out. Where they are more
    than half, they are kept, and it is the rightness of the last tier that is not looked at.
    """
    answered, last_answered = ~table.failed[:, j], ~table.failed[:, -1]
    looks_at_last = j < len(table.tiers) - 1 and 2 * last_answered.sum() >= len(table)
    rows = answered & last_answered if looks_at_last else answered
    last = right[rows, -1] if looks_at_last else None
    return table if rows.all() else table.subset(rows), right[rows, j], last


def _usable(table: TraceTable, j: int) -> NDArray[np.bool_]:
    """The rows with evidence of a tier's signal."""
    if SIGNAL_FACTS[table.signals[j]].purchase == "rounds":
        votes = table.recorded_votes[j]
        can_be_read = (votes.kinds[:, 0] > 0) | (votes.kinds[:, 1] > 0)
        return np.asarray(can_be_read[votes.code])
    return np.asarray(~np.isnan(table.confidence[:, j]))


def _fit_votes_of(table: TraceTable, j: int, labels: Labels) -> VoteObservations:
    kinds, code = table.recorded_votes[j].kinds.astype(np.intp), table.recorded_votes[j].code
    return fit_votes(kinds[code, 0], kinds[:, :2].sum(axis=1)[code], kinds.sum(axis=1)[code], labels)
