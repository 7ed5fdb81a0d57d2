"""The luck of training answers in the choice of a setting: how far it moves what a policy does held out.

Two runs that train on answers drawn anew choose other settings although nothing has changed. How far,
the bootstrap of the rule that chooses tells (Efron, "Estimation and accuracy after model selection",
JASA 109, 2014): in draws of the training rows the same rule chooses again, and each choice is looked up
among the held-out results of the settings worth having.

The answers of two runs are seldom all new. Let v_i be what training row i adds to the margin by which
the rule took the setting: the score less `keep` times that of the best tier, or the cost under a budget.
The margins of two runs then differ by a variance of sum (v_i - v'_i)² / n², by the swap of the two runs
in each row, where draws of all rows have the sum of the variances of both. Draws are drawn towards the
mean by the root of the ratio,

    size² = sum (v_i - v'_i)² / (sum (v_i - v)² + sum (v'_i - v')²),   at most 1

(the scaled bootstrap of Rao and Wu, JASA 83, 1988): 0 where all training rows came out alike, and 1 where
they have nothing in common. Each run keeps its choices for several sizes, and its v_i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.evaluation.charges import RowOutcomes
from automix_cli.evaluation.frontier import ROUNDING_ERROR
from automix_cli.evaluation.objective import Candidates, Objective, SettingChoice, best_tier
from automix_cli.evaluation.replay import Replayed
from automix_cli.evaluation.settings import CostWeight
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.records import Json

SIZES: Floats = np.linspace(0.0, 1.0, 11)
_POINTS = 2_000  # equally likely values that stand for the luck of two runs
_COARSE_POINTS = 100
_DECIMALS = 6  # of what is written


class ChoiceDraws(NamedTuple):
    """What the rule chooses in draws of the training rows.

    Attributes:
        choices: C, the settings that were chosen in some draw, cheapest in training first.
        chances: sizes×C, how often each was, in draws of each of `SIZES`; at 0 it is the one chosen.
        values: n, what each training row adds to the margin of the one chosen.
    """

    choices: tuple[SettingChoice, ...]
    chances: Floats
    values: Floats


class ChoiceLuck(Struct, frozen=True, kw_only=True, eq=False):
    """The choice of one policy in one split, as a later run needs it.

    Attributes:
        settings: C, as results carry them.
        chances: sizes×C, see `ChoiceDraws`.
        figures: by measure, the held-out mean at each of these settings; NaN where it is not recorded.
        values: by the key of a training question, what its rows add to the margin.
    """

    settings: tuple[Json, ...]
    chances: Floats
    figures: Mapping[str, Floats]
    values: Mapping[str, float]

    def to_dict(self) -> dict[str, Json]:
        """The luck as a line of `runs.jsonl` carries it."""
        return {
            "settings": list(self.settings),
            "chances": self.chances.round(_DECIMALS).tolist(),
            "figures": {key: [_number(x) for x in own.tolist()] for key, own in self.figures.items()},
            "training": {key: float(f"{value:.{_DECIMALS}g}") for key, value in self.values.items()},
        }

    @classmethod
    def of_dict(cls, line: Mapping[str, Json]) -> ChoiceLuck:
        """Read the luck again.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is none.
        """
        chances = np.array(line["chances"], dtype=float)
        figures = {key: np.array(own, dtype=float) for key, own in line["figures"].items()}
        if any(own.shape != chances.shape[1:] for own in figures.values()) or len(chances) != len(SIZES):
            raise ValueError("a figure per setting is needed, and chances of each size")
        values = {key: float(value) for key, value in line["training"].items()}
        return cls(settings=tuple(line["settings"]), chances=chances, figures=figures, values=values)

    def shifts(self, measure: str, size: float) -> Floats:
        """How far luck of a size moves a held-out mean from that of the setting chosen, point by point.

        The points are in the order of the settings, so that those of several splits move together.
        """
        figures = self.figures[measure]
        chances = np.array([np.interp(size, SIZES, own) for own in self.chances.T])
        points = (np.arange(_POINTS) + 0.5) / _POINTS * chances.sum()
        places = np.searchsorted(chances.cumsum(), points).clip(0, len(figures) - 1)
        shift: Floats = figures[places] - figures[self.chances[0].argmax()]
        return shift


def _number(x: float) -> float | None:
    return None if x != x else float(f"{x:.9g}")


# ------------------------------------------------------------------ one run


def choose_again(
    candidates: Candidates, objective: Objective, choice: SettingChoice, *, is_fixed: bool = False
) -> ChoiceDraws:
    """Choose again in draws of the training rows, by the rule that made the choice.

    A setting that is fixed, or that the objective names, is chosen in every draw; so is one where rows are
    too few to draw.
    """
    settings = [own.setting for own in candidates.every]
    is_named = is_fixed or (objective.kind == "cost_weight" and choice.setting == CostWeight(objective.value))
    if is_named or candidates.resamples is None or choice.setting not in settings:
        return ChoiceDraws((choice,), np.ones((len(SIZES), 1)), np.empty(0))
    place = settings.index(choice.setting)
    chances = _draw_choices(candidates, objective)
    chances[0] = np.arange(len(settings)) == place
    order = np.argsort([own.point.cost for own in candidates.every], kind="stable")
    order = order[chances[:, order].any(axis=0)]
    return ChoiceDraws(
        choices=tuple(candidates.every[k] for k in order),
        chances=chances[:, order],
        values=_values(candidates, objective, place),
    )


def _values(candidates: Candidates, objective: Objective, place: int) -> Floats:
    """What each training row adds to the margin of a setting."""
    scores, costs = candidates.rows
    if objective.kind == "keep":
        best = best_tier([own.point for own in candidates.every[: len(candidates.tiers)]])
        values: Floats = scores[place] - objective.value * scores[best]
    elif objective.kind == "budget":
        values = -costs[place]
    else:
        values = scores[place] - (objective.value if objective.kind == "cost_weight" else 0.0) * costs[place]
    return values


def _draw_choices(candidates: Candidates, objective: Objective) -> Floats:
    """How often each of C settings is chosen, per size."""
    rule = {"keep": _cheapest_that_keeps, "budget": _best_for_budget}.get(objective.kind, _most_worth)
    choose = rule(candidates, objective)
    own = [choose(float(size)) for size in SIZES]
    return np.array([np.bincount(places, minlength=len(candidates.every)) / len(places) for places in own])


_Choose = Callable[[float], Ints]
"""Which setting is chosen in each draw, of the size that draws have."""


def _cheapest_that_keeps(candidates: Candidates, objective: Objective) -> _Choose:
    """The cheapest setting whose margin, at the chance that is asked for, is no loss.

    In a draw that bound moves as the margin does: draws of draws would take too long.
    """
    scores, half_a_row = candidates.draws
    order, tiers, mean = candidates.order, len(candidates.tiers), candidates.rows.score.mean(axis=1)
    loss = np.where(np.arange(len(mean)) < tiers, 0.0, half_a_row)
    margins = (scores - loss - objective.value * scores[:, :tiers].max(axis=1, keepdims=True))[:, order]
    middle = (mean - loss - objective.value * mean[:tiers].max())[order]
    bounds, swings = np.quantile(margins, 1 - objective.sure, axis=0), margins - middle

    def choose(size: float) -> Ints:
        is_sure = bounds + size * swings >= -ROUNDING_ERROR
        best = (mean[:tiers] + size * (scores[:, :tiers] - mean[:tiers])).argmax(axis=1)
        return np.asarray(np.where(is_sure.any(axis=1), order[is_sure.argmax(axis=1)], best))

    return choose


def _best_for_budget(candidates: Candidates, objective: Objective) -> _Choose:
    """The dearest setting within the budget, else the cheapest one."""
    order, mean = candidates.order, candidates.rows.cost.mean(axis=1)
    most = objective.value * (1 + ROUNDING_ERROR)

    def choose(size: float) -> Ints:
        is_in = (mean + size * (candidates.cost_draws - mean))[:, order] <= most
        last = len(order) - 1 - is_in[:, ::-1].argmax(axis=1)
        return np.asarray(order[np.where(is_in.any(axis=1), last, 0)])

    return choose


def _most_worth(candidates: Candidates, objective: Objective) -> _Choose:
    """The setting of the most quality less cost, or of the steepest step from the cheapest tier."""
    (scores, _), order = candidates.draws, candidates.order
    quality, cost = (own.mean(axis=1) for own in candidates.rows)

    def choose(size: float) -> Ints:
        q = (quality + size * (scores - quality))[:, order]
        c = (cost + size * (candidates.cost_draws - cost))[:, order]
        if objective.kind == "cost_weight":
            return np.asarray(order[(q - objective.value * c).argmax(axis=1)])
        step = c - c[:, :1]
        slope = np.where(step > 0, (q - q[:, :1]) / np.where(step > 0, step, 1.0), -np.inf)
        return np.asarray(order[slope.argmax(axis=1)])

    return choose


def held_out_figures(own: RowOutcomes | Replayed) -> dict[str, float]:
    """The means of what a later run can compare, by the key of the measure; NaN where one is not recorded."""
    columns = {
        "quality": own.score,
        "cost": own.cost,
        "escalated": own.escalated,
        "votes": own.votes.sum(axis=1),
        "abstained": own.abstained,
        "latency": own.latency,
    }
    return {key: float(column.mean()) for key, column in columns.items()}


def sums_by_key(keys: Sequence[str], values: Floats) -> dict[str, float]:
    """The values of the rows of each question, together; {} without values."""
    sums = dict[str, float]()
    for key, value in zip(keys, values.tolist(), strict=False):
        sums[key] = sums.get(key, 0.0) + value
    return sums


# ------------------------------------------------------------------ two runs

Splits = Mapping[str, ChoiceLuck]
"""The choices of one policy, by the seed of their split."""


class Luck(NamedTuple):
    """How far luck alone moves the difference between two runs, as equally likely values; () for not at all.

    Attributes:
        moves: the difference itself.
        effect: the middle of its interval: draws around a lucky choice lie on the side of the others, and so
            draw it back. The power of a gate goes by it.
    """

    moves: Floats
    effect: Floats


def luck_of_two(here: Splits, there: Splits, measure: str, times: float = 1.0) -> Luck:
    """The luck that two runs do not share.

    Args:
        here: the choices of the new run; () where it made none.
        there: those of the earlier one.
        measure: of `figures`.
        times: by which the earlier run is multiplied.
    """
    size, none = luck_size(here, there), Luck(np.empty(0), np.empty(0))
    if not size:
        return none
    rng, sides = np.random.default_rng(0), list[Floats]()
    for own in (here, there):
        shifts = [luck.shifts(measure, size) for luck in own.values() if measure in luck.figures]
        mean: Floats = np.mean(shifts, axis=0) if shifts else np.zeros(_POINTS)
        mean = np.nan_to_num(mean)
        sides.append(np.stack([mean, _drawn_back(mean)])[:, rng.permutation(_POINTS)])
    moves, effect = sides[0] - times * sides[1]
    return Luck(moves, effect) if moves.any() else none


def _drawn_back(shifts: Floats) -> Floats:
    """Of each point, the mean of normal draws around it, of which the points are the quantiles."""
    normal = NormalDist()
    middles = (np.arange(_COARSE_POINTS) + 0.5) / _COARSE_POINTS
    z = np.array([normal.inv_cdf(u) for u in middles.tolist()])
    ends = np.linspace(-6, 6, 241)
    chances = np.interp(z[:, None] + z, ends, [normal.cdf(end) for end in ends.tolist()])
    means: Floats = shifts[(chances * _POINTS).astype(np.intp).clip(0, _POINTS - 1)].mean(axis=1)
    return means.repeat(_POINTS // _COARSE_POINTS)


def luck_size(here: Splits, there: Splits) -> float:
    """How much of the luck two runs do not share: 0 where all training rows came out alike, at most 1."""
    first, second = _values_of(here), _values_of(there)
    common = first.keys() & second.keys()
    apart, whole = sum((first[key] - second[key]) ** 2 for key in common), 0.0
    for own in (first, second):
        mean = sum(own.values()) / max(len(own), 1)
        squares = {key: (value - mean) ** 2 for key, value in own.items()}
        whole += sum(squares.values())
        apart += sum(square for key, square in squares.items() if key not in common)
    return float(np.sqrt(min(apart / whole, 1.0))) if whole > 0 else 0.0


def _values_of(splits: Splits) -> dict[tuple[str, str], float]:
    return {(seed, key): value for seed, own in splits.items() for key, value in own.values.items()}
