"""The prior over states: counts plus pseudo-counts, whose number maximises leave-one-out likelihood."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.arrays import Floats, Ints, different_codes
from automix_cli.pomdp.tilt import MOST_TRUST, shrink_logits, sigmoid, state_bits, tilt

TRUST_STEP = 0.05  # of the search for how far a router is followed
SPREAD_STEPS = 100  # of `count_states`; a step costs microseconds


def count_states(right: Ints, failed: NDArray[np.bool_], question_classes: Ints, n_classes: int) -> Floats:
    """Rows per class and state, shape (classes, 2^N).

    Whether a tier fails does not depend on the state, so a row on which it failed says nothing of
    this tier, and as much as any other row of the tiers that answered. It is spread over the states
    that agree with those, in the proportions of all rows (the maximum-likelihood estimate, by EM).
    Counting the failure as wrong would count it twice, because the plan knows the chance of a
    failure; leaving the row out would waste the other tiers' scores, of which there are few, and
    leave no row at all beside a tier that always fails.

    Args:
        right: 1 where a tier is right, shape (n, N).
        failed: where it gave no answer, shape (n, N).
        question_classes: the class of each row, shape (n,).
        n_classes: how many classes there are.

    Example:
        >>> right, failed = np.array([[1], [0], [0]]), np.array([[False], [False], [True]])
        >>> count_states(right, failed, np.zeros(3, int), 1).tolist()
        [[1.5, 1.5]]
    """
    tiers = right.shape[1]
    bits, places = (np.arange(2**tiers)[:, None] >> np.arange(tiers)) & 1, 3 ** np.arange(tiers)
    codes, _, code_of = different_codes(np.where(failed, 2, right) @ places)
    patterns = codes[:, None] // places % 3  # per tier 0, 1, or 2 where it failed
    cells = question_classes * len(codes) + code_of
    rows = np.bincount(cells, minlength=n_classes * len(codes)).reshape(n_classes, len(codes))
    agrees = ((patterns[:, None] == 2) | (patterns[:, None] == bits)).all(axis=2)
    spread = share = np.full((1, 2**tiers), 2.0**-tiers)
    for _ in range(SPREAD_STEPS if failed.any() else 1):
        spread = agrees * share
        spread = spread / spread.sum(axis=1, keepdims=True)
        share = rows.sum(axis=0) @ spread / max(1, len(right))
    return np.asarray(rows @ spread)


def independent(counts: Floats) -> Floats:
    """Product of the tiers' marginals, each (right + ½)/(n + 1), over the 2^N states.

    Args:
        counts: rows per state, shape (..., 2^N); bit i of the index is tier i.
    """
    tiers = counts.shape[-1].bit_length() - 1
    product = np.ones_like(counts)
    for i in range(tiers):
        right = (np.arange(counts.shape[-1]) >> i) & 1
        share = ((counts * right).sum(axis=-1, keepdims=True) + 0.5) / (
            counts.sum(axis=-1, keepdims=True) + 1
        )
        product = product * np.where(right, share, 1 - share)
    return product


def shrunk(counts: Floats, towards: Floats, weight: float) -> Floats:
    """(counts + weight·towards)/(n + weight), over the last axis."""
    return np.asarray((counts + weight * towards) / (counts.sum(axis=-1, keepdims=True) + weight))


def weight_grid(rows: int) -> Floats:
    """Pseudo-counts to choose from: 1 … 4n, geometric."""
    return np.geomspace(1.0, max(1.0, 4.0 * rows), 25)


def left_out(counts: Floats, weights: Floats) -> Floats:
    """For each weight and state, the prior's chance of a row of that state, fitted without that row.

    Returns:
        shape (weights, states); the marginals are without the row, too.
    """
    states = len(counts)
    others = counts - np.eye(states)  # row s: the counts without one row of state s
    product = independent(np.maximum(others, 0.0))[np.arange(states), np.arange(states)]
    own = np.maximum(counts - 1, 0.0)
    return np.asarray((own + weights[:, None] * product) / (max(counts.sum() - 1, 0.0) + weights[:, None]))


def choose_alpha(counts: Floats) -> float:
    """The pseudo-counts under which rows left out are likeliest; the most of equals."""
    weights = weight_grid(int(counts.sum()))
    return _best(weights, _log_likelihood(left_out(counts, weights), counts))


def choose_kappa(counts: Floats, alpha: float, total: Floats | None = None) -> float:
    """The same for classes (one row of `counts` each), drawn to the prior of all rows.

    Args:
        counts: rows per class and state.
        alpha: pseudo-counts of the prior of all rows.
        total: all rows by state, where some are in no class; by default those of `counts`.
    """
    weights = weight_grid(int(counts.sum()))
    overall = left_out(counts.sum(axis=0) if total is None else total, np.array([alpha]))[0]
    own, rows = np.maximum(counts - 1, 0.0), np.maximum(counts.sum(axis=1, keepdims=True) - 1, 0.0)
    chances = (own + weights[:, None, None] * overall) / (rows + weights[:, None, None])
    return _best(weights, _log_likelihood(chances, counts))


class GroupedCounts(NamedTuple):
    """Rows by state in P cells: those of one group that are in one class.

    Attributes:
        counts: P×states.
        group_of: P, the group of each cell.
        class_of: P, its class; one past the last for rows in no class.
    """

    counts: Floats
    group_of: Ints
    class_of: Ints


def choose_kappa_by_group(cells: GroupedCounts, n_classes: int, alpha: float) -> float:
    """The same with whole groups left out, because copies of a question foretell one another.

    Where each group is one row, it is what `choose_kappa` chooses.
    """
    counts, group_of, class_of = cells
    own, total = np.zeros((n_classes + 1, counts.shape[1])), counts.sum(axis=0)
    np.add.at(own, class_of, counts)
    groups = np.zeros((int(group_of.max()) + 1, counts.shape[1]))
    np.add.at(groups, group_of, counts)
    has_class = class_of < n_classes
    rest = np.maximum(total - groups[group_of[has_class]], 0.0)
    overall = shrunk(rest, independent(rest), alpha)
    others = np.maximum(own[class_of[has_class]] - counts[has_class], 0.0)
    weights = weight_grid(int(counts[has_class].sum()))
    likelihood = [_log_likelihood(shrunk(others, overall, w)[None], counts[has_class])[0] for w in weights]
    return _best(weights, np.array(likelihood))


def _log_likelihood(chances: Floats, counts: Floats) -> Floats:
    """Σ counts·log(chances) over all but the first axis; states that no row is in do not count."""
    logs = np.log(np.where(counts > 0, chances, 1.0))
    return np.asarray((counts * logs).reshape(len(chances), -1).sum(axis=1))


def _best(weights: Floats, likelihood: Floats) -> float:
    """The weight with the highest likelihood; of equals the largest, which shrinks most."""
    return float(weights[::-1][likelihood[::-1].argmax()])


def choose_trust(priors: Floats, logits: Floats, right: Ints, failed: NDArray[np.bool_]) -> float:
    """How far priors should follow a router: under which trust the rows are likeliest; of equals the least.

    Args:
        priors: of each row without the router, shape (n, 2^N).
        logits: that a router which never saw the row's label gives its tiers, shape (n, N).
        right: 1 where a tier is right, shape (n, N).
        failed: where it gave no answer, and nothing is known, shape (n, N).
    """
    if not len(logits):
        return 0.0

    @cache
    def likelihood(steps: int) -> float:
        return trust_likelihood(priors, logits, right, failed, steps * TRUST_STEP)

    most = round(MOST_TRUST / TRUST_STEP)
    best = max(range(0, most + 1, 8), key=likelihood)
    for step in (4, 2, 1):
        best = max((k for k in (best - step, best, best + step) if 0 <= k <= most), key=likelihood)
    return round(best * TRUST_STEP, 9)


def trust_likelihood(
    priors: Floats, logits: Floats, right: Ints, failed: NDArray[np.bool_], trust: float
) -> float:
    """The log-likelihood of the rows under priors that follow a router so far; see `choose_trust`."""
    bits = state_bits(logits.shape[1])
    agrees = ((bits == right[:, None]) | failed[:, None]).all(axis=2)
    chances = tilt(priors, sigmoid(shrink_logits(priors, logits, trust)))
    return float(np.log((chances * agrees).sum(axis=1)).sum())
