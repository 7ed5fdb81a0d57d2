"""The verdict on a policy, from what it did on the held-out rows of every split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automix_cli.data.groups import FEW_COPIES, why_no_verdict
from automix_cli.evaluation.bootstrap import mean_figure
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.figures import SplitResult, edge_figure
from automix_cli.evaluation.objective import Objective, SettingChoice, best_tier, choose
from automix_cli.evaluation.policy_entry import reads_questions
from automix_cli.evaluation.settings import Always
from automix_cli.evaluation.split import Split
from automix_cli.evaluation.verdict import (
    OTHER_SHARES,
    Alternative,
    Edge,
    RoutingVerdict,
    surely_pays,
    verdict,
    weigh_choices,
)
from automix_cli.texts import count_of, share_text


def judge(measure: Measure, results: Sequence[SplitResult]) -> RoutingVerdict | None:
    """Whether the policy pays; None where the rows cannot tell, or nothing could be cross-fitted."""
    if any(map(why_not_judged, results)):
        return None
    edge, questions = _edge(measure), min(result.single.split.test.n_groups for result in results)
    if edge is None:
        return None
    alone = sum(result.run.is_single_tier for result in results)
    is_single = alone == len(results)
    return weigh_choices(verdict(edge, questions), alone, len(results), questions, is_single=is_single)


def why_not_judged(result: SplitResult) -> str:
    """Why nothing can be said about a policy on one split; "" where it can."""
    split, reads = result.single.split, reads_questions(result.run.entry)
    few_labels = _FEW_LABELS if result.lacks_labels_of("tiers") else ""
    return _why_no_policy_is_judged(split) or (_copies_read(split) if reads else "") or few_labels


_FEW_LABELS = "too few rows held out have the label that tells what is lost"


def _copies_read(split: Split) -> str:
    """Tell of questions held out that a policy which reads questions has learned from."""
    in_training = np.isin(split.test.group_keys, split.train.group_keys)[split.test.groups]
    share = float(in_training.mean())
    if share <= FEW_COPIES:
        return ""
    part = share_text(share, ".0%")
    return f"{part} of the questions held out stand in training, or near-copies of them do"


def _why_no_policy_is_judged(split: Split) -> str:
    questions, least = split.train.n_groups, split.options.least_questions
    if not split.can_crossfit:
        words = count_of(questions, split.train.grouping.noun)
        return f"to learn from are {words}, and at least {least} are needed"
    why = why_no_verdict(split.test.grouping)
    return f"held out are {why}" if why[:1].isdigit() else f"of the rows held out, {why}" if why else ""


def _edge(measure: Measure) -> Edge | None:
    if measure.value is None or measure.low is None or measure.high is None:
        return None
    return Edge(measure.value / 100, measure.low / 100, measure.high / 100)


def find_alternative(results: Sequence[SplitResult], objective: Objective) -> Alternative | None:
    """Find the strictest lower share to keep at which the policy pays, where a single tier was chosen."""
    lacks_labels = any(result.lacks_labels_of("curve") for result in results)
    if lacks_labels or objective.kind != "keep" or not all(r.run.is_single_tier for r in results):
        return None
    for share in OTHER_SHARES:
        if share < objective.value and (other := _at_share(results, objective._replace(value=share))):
            return other
    return None


def _at_share(results: Sequence[SplitResult], objective: Objective) -> Alternative | None:
    """Measure what an objective chooses in training; None where that does not surely pay."""
    choices = [_choose(result, objective) for result in results]
    if 2 * sum(isinstance(choice.setting, Always) for choice in choices) >= len(choices):
        return None
    edges, savings = [], []
    for result, choice in zip(results, choices, strict=True):
        place = [c.setting for c in result.run.curve].index(choice.setting)
        cost = result.curve.cost.column(place)
        baseline = result.single.costs[:, best_tier(result.single.training_points)].mean()
        if baseline <= 0:
            return None
        edges.append(edge_figure(result.curve.quality.column(place), cost, result.single.means))
        savings.append(1 - cost.value / baseline)
    edge = _edge(mean_figure(edges).measure())
    if edge is None or not surely_pays(edge):
        return None
    return Alternative(objective.value, float(np.mean(savings)), edge)


def _choose(result: SplitResult, objective: Objective) -> SettingChoice:
    split, curve = result.single.split, result.run.policy.curve
    return choose(curve, result.single.names, split.alone, objective, split.resamples)
