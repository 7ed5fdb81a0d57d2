"""How likely each history is, and what it is worth to end there, whatever the price of quality.

A block of histories is an array of the last tier's counts, of the earlier counts, and of G groups of
plans that have one prior: C×B×G. The next block flattens the first two of them, so that the counts
seen first run fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.pomdp.action_table import NO_ACTION
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.histories import Histories, TierPath
from automix_cli.pomdp.model import Model
from automix_cli.pomdp.problem import Action
from automix_cli.pomdp.tilt import sigmoid, tilt

VALUE_TIE = 1e-12  # values nearer than this count as equal
Codes = NDArray[np.int16]


class FinalTable(NamedTuple):
    """What ending at the histories of one path brings; C×B×G each.

    Attributes:
        weight: w(h), the probability of one order of the counts.
        value: the best score times w(h); minus infinity where nothing can be reported.
        code: the number of the action.
    """

    weight: Floats
    value: Floats
    code: Codes


class FinalTables:
    """The tables of all paths, for the groups of some models with the same histories.

    Args:
        groups: one model and root each; those of a model stand together.
        codes: the numbers of the actions.
    """

    def __init__(self, groups: Sequence[Histories], codes: Mapping[Action, int]) -> None:
        self.codes, self.tables = codes, dict[TierPath, FinalTable]()
        self.histories = groups[0]
        sizes = [(own[0], len(own)) for _, each in groupby(groups, lambda h: id(h.model)) if (own := [*each])]
        ends = np.cumsum([size for _, size in sizes]).tolist()
        self._models = [
            (first, slice(end - size, end)) for (first, size), end in zip(sizes, ends, strict=True)
        ]
        self._extend(self.histories.start, _weights_before(groups).T[:, None])

    def _extend(self, path: TierPath, weight: Floats) -> None:
        """Fill the tables from a path on; `weight` is that of all before its last step, per state."""
        before = weight * self._per_group(lambda own: own.step_chance(path).T)
        likelihood = self._per_group(lambda own: own.likelihood(path).T)
        weights = likelihood[:, :, None] * before[:, None]
        self.tables[path] = self._table(path, weights)
        flat = weights.reshape(len(weights), -1, weights.shape[-1])
        for tier in self.histories.next_tiers(path):
            for step in self.histories.next_steps(path, tier):
                self._extend((*path, step), flat)

    def _per_group(self, number_of: Callable[[Histories], Floats]) -> Floats:
        """Numbers of every group, on a last axis; once where all groups are of one model."""
        if len(self._models) == 1:
            return number_of(self._models[0][0])[..., None]
        each = [
            np.repeat(number_of(own)[..., None], which.stop - which.start, -1) for own, which in self._models
        ]
        return np.concatenate(each, axis=-1)

    def _table(self, path: TierPath, weights: Floats) -> FinalTable:
        """Compare what can be reported at each history."""
        actions, shape = self._actions(path), weights.shape[1:]
        sums = np.empty((1 + len(actions), *shape))
        for own, which in self._models:
            flat = weights[..., which].reshape(len(weights), -1)
            payoffs = _payoffs(own.model, actions) @ flat
            sums[..., which] = payoffs.reshape(len(sums), *shape[:-1], -1)
        weight, *values = sums
        if not actions:
            return FinalTable(weight, np.full(shape, -np.inf), np.full(shape, NO_ACTION, np.int16))
        best = reduce(np.maximum, values)
        good_enough = best - VALUE_TIE * weight
        code = np.full(shape, self.codes[actions[-1]], np.int16)
        for action, value in reversed([*zip(actions, values, strict=True)][:-1]):
            np.copyto(code, self.codes[action], where=value >= good_enough)
        return FinalTable(weight, best, code)

    def _actions(self, path: TierPath) -> list[Action]:
        """What ends a question at a path, in the order of preference."""
        histories, answers = self.histories, self.histories.answers(path)
        actions = [Action("report", tier) for tier in answers]
        may_abstain = histories.is_later(path) and histories.model.abstain_value is not None
        if may_abstain or not (histories.next_tiers(path) or answers):  # every tier has failed
            actions.append(Action("abstain"))
        return actions


@lru_cache(maxsize=2)
def final_tables(groups: tuple[Histories, ...], actions: tuple[Action, ...]) -> FinalTables:
    """What ending is worth; kept, because passes for other prices and lengths follow."""
    return FinalTables(groups, {action: code for code, action in enumerate(actions)})


def _payoffs(model: Model, actions: Sequence[Action]) -> Floats:
    """Per state: 1 for its weight, and what each action brings."""
    return np.stack([np.ones(2 ** len(model.tiers)), *map(model.payoff, actions)])


def _weights_before(groups: Sequence[Histories]) -> Floats:
    """b₀·Πℓ of what was seen before the paths begin, G×2^N."""
    logits = [own.root.logits for own in groups]
    if len(groups) == 1 or not any(logits):
        return np.array([own.weight_before() for own in groups])
    priors = np.array([own.model.class_prior(own.root.question_class) for own in groups])
    is_tilted = np.array([bool(own) for own in logits])
    priors[is_tilted] = tilt(priors[is_tilted], sigmoid(np.array([own for own in logits if own])))
    return priors
