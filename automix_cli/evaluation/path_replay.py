"""Replay of a whole path of plans in one array pass, in exact expectation over vote orders.

A plan says in how many orders each history is met when it is followed. Times the probability
to draw one such order from a row's recorded votes, that is the chance that the row meets the
history. Both are arrays, so all cost_weights and all signatures are played by matrix products.
`replay` plays one policy of any kind; the tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from automix_cli.evaluation.charges import Outcomes
from automix_cli.evaluation.joint_plans import JointPlans
from automix_cli.evaluation.replay import combinations
from automix_cli.evaluation.signatures import Evidence
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import PlanStep, TierPath
from automix_cli.pomdp.observations import Counts, CountTable, ObservationModel, VoteObservations
from automix_cli.pomdp.problem import Action, Observation, Visit
from automix_cli.pomdp.reach import Reach


class OrderChances(NamedTuple):
    """How likely one order of a tier's counts is, for each of K kinds of evidence.

    Attributes:
        chances: K×counts; 0 where the tier failed.
        failed: K, 1 where it failed.
        foreseen: K, whether the plan holds every history that this evidence may lead to.
    """

    chances: Floats
    failed: Floats
    foreseen: Bools


def order_chances(
    observation: ObservationModel, table: CountTable, evidence: Evidence, *, may_fail: bool
) -> OrderChances:
    """Return the chance to draw one order of each row of a count table, without replacement.

    Args:
        observation: of the tier.
        table: the counts that a plan tells apart there.
        evidence: what the tier shows.
        may_fail: whether the plan foresees that it fails.
    """
    failed, counts = np.array(evidence.failed), list(table.counts)
    if isinstance(observation, VoteObservations):
        chances, foreseen = _draw_votes(observation, np.array(counts, dtype=np.intp), evidence.votes)
    else:
        chances, foreseen = _show_once(observation, counts, evidence.observations)
    chances = np.where(failed[:, None], 0.0, chances)
    return OrderChances(chances, failed.astype(float), np.where(failed, may_fail, foreseen))


def _draw_votes(observation: VoteObservations, counts: Ints, votes: Ints) -> tuple[Floats, Bools]:
    """Divide the ways to draw each count by the orders that lead to it: K×counts."""
    correct, parsed, n_votes = counts.T
    parts = np.stack([correct, parsed - correct, n_votes - parsed])
    most = int(n_votes.max(initial=0))
    ways_of = combinations(max(int(votes.sum(axis=1).max(initial=0)), most), most)
    ways = np.prod([ways_of[votes[:, [k]], parts[k]] for k in range(3)], axis=0)
    orders = ways_of[n_votes, correct] * ways_of[n_votes - correct, parsed - correct]
    total = votes.sum(axis=1)
    every = ways_of[total[:, None], n_votes]
    chances = np.divide(ways, every * orders, out=np.zeros(ways.shape), where=every > 0)
    foreseen = total >= n_votes.max(initial=0)
    return chances, foreseen if observation.unparsed else foreseen & (votes[:, 2] == 0)


def _show_once(
    observation: ObservationModel, counts: list[Counts], observations: tuple[Observation, ...]
) -> tuple[Floats, Bools]:
    """Mark the row of each kind of evidence; a row without any evidence is met by all."""
    chances = np.zeros((len(observations), len(counts)))
    foreseen = np.zeros(len(observations), dtype=bool)
    is_bought = any(c.parsed for c in counts) and not counts[0].parsed  # the first row is "not looked at"
    for k, own in enumerate(observations):
        counts_shown = observation.counts(Visit(0).after(own._replace(n_votes=1) if is_bought else own))
        if counts_shown in counts:
            chances[k, counts.index(counts_shown)] = 1.0
            foreseen[k] = bool(counts_shown.parsed) or len(counts) == 1
    chances[:, [j for j, c in enumerate(counts) if not c.parsed]] = 1.0
    return chances, foreseen


class TierEvidence(NamedTuple):
    """What a tier shows on S signatures: one of K kinds of evidence each.

    Attributes:
        kinds: K.
        code: S, the kind of each signature.
    """

    kinds: OrderChances
    code: Ints


class SignatureEvidence(NamedTuple):
    """What the tiers show on S signatures.

    Attributes:
        size: S.
        tiers: per tier that is looked at.
        first_equal: S×N, the first tier with an equal answer; None where answers are not compared.
    """

    size: int
    tiers: Mapping[int, TierEvidence]
    first_equal: Ints | None

    @property
    def foreseen(self) -> Bools:
        """Whether the plan holds every history that a signature may lead to, S."""
        foreseen = np.ones(self.size, dtype=bool)
        for kinds, code in self.tiers.values():
            foreseen &= kinds.foreseen[code]
        return foreseen

    def of(self, step: PlanStep, width: int) -> tuple[Floats, Ints]:
        """The chance of one order of each count at a step, K×counts, and the kind of each signature."""
        evidence = self.tiers.get(step.tier)
        if evidence is None:
            chances = np.zeros((1, 1)) if step.failed else np.ones((1, width))
            return chances, np.zeros(self.size, dtype=np.intp)
        kinds, code = evidence
        return (kinds.failed[:, None] if step.failed else kinds.chances), code

    def joins(self, path: TierPath) -> Bools | None:
        """Whether each answer joins the class that the path says, S; None where none is compared."""
        if self.first_equal is None:
            return None
        own = [self._joins(path, end) for end, step in enumerate(path) if not step.failed]
        return np.logical_and.reduce(own) if own else None

    def _joins(self, path: TierPath, end: int) -> Bools:
        """Whether a step's answer joins the class that the path says, S."""
        step, first = path[end], self.first_equal
        assert first is not None
        earlier = [s.tier for s in path[:end] if not s.failed]
        equal = first[:, earlier] == first[:, [step.tier]]
        joins: Bools = equal[:, earlier.index(step.joins)] if step.joins in earlier else ~equal.any(axis=1)
        return joins


def play_path(plans: JointPlans, evidence: SignatureEvidence, tiers: int) -> Outcomes:
    """Play plans that begin before any call.

    Args:
        plans: W.
        evidence: what the tiers show on S signatures.
        tiers: how many there are.
    """
    reports, asks, votes, rounds, abstained, escalated = Outcomes.nothing((plans.size, evidence.size), tiers)
    for path, own in plans.reaches.items():
        sums = _sums_of(plans.actions, own)
        if not sums:
            continue
        chances = _meet(plans.reaches, path, np.stack([*sums.values()], axis=-1), evidence)
        closes: Floats | float = 0.0
        for kind, chance in zip(sums, np.moveaxis(chances, 1, 0), strict=True):
            if isinstance(kind, str):
                (votes if kind == "votes" else rounds)[:, :, path[-1].tier] += chance
                continue
            closes = closes + chance
            if kind.kind == "report":
                reports[:, :, kind.tier] += chance
            else:
                abstained += chance
        for step in path:
            asks[:, :, step.tier] += closes
        if len(path) > 1:
            escalated += closes
    return Outcomes(reports, asks, votes, rounds, abstained, escalated)


def _sums_of(actions: Sequence[Action], own: Reach) -> dict[Action | Literal["votes", "rounds"], Floats]:
    """How often the plans do what counts at the histories of a path, times the orders of each; C×R."""
    present = [actions[code] for code in np.flatnonzero(np.bincount(1 + own.choice.ravel())[1:]).tolist()]
    sums: dict[Action | Literal["votes", "rounds"], Floats] = {}
    for action in present:
        if action.final:
            sums[action] = own.ways * (own.choice == actions.index(action))
    if any(action.votes for action in present):
        n_votes = np.array([*(float(action.votes) for action in actions), 0.0])[own.choice]
        sums["votes"], sums["rounds"] = own.ways * n_votes, own.ways * (n_votes > 0)
    return sums


def _meet(
    reaches: Mapping[TierPath, Reach], path: TierPath, sums: Floats, evidence: SignatureEvidence
) -> Floats:
    """Add up sums over the histories of a path (C×R×K), each times the chance of one order; plans×K×S.

    Signatures are combinations of few kinds of evidence per tier. So the sums are made for all
    combinations of kinds, one tier after the other, as long as these are fewer than the signatures.
    """
    place, total = np.zeros(evidence.size, dtype=np.intp), sums[..., None]
    for end in range(len(path), 0, -1):
        width, *shape = total.shape
        kinds, code = evidence.of(path[end - 1], width)
        if len(kinds) * shape[-1] <= evidence.size:
            place = place + code * shape[-1]
            product = (kinds @ total.reshape(width, -1)).reshape(-1, *shape)
            total = np.moveaxis(product, 0, -2).reshape(*shape[:-1], -1)
        else:
            total = np.einsum("crks,sc->rks", total[..., place], kinds[code])
            place = np.arange(evidence.size)
        own, before = reaches[path[:end]], reaches[path[: end - 1]]
        at_histories = np.zeros((*before.ways.shape, *total.shape[1:]))
        at_histories[own.row, own.column] = total
        total = at_histories
    by_plan = np.empty(total.shape[1:])
    by_plan[reaches[()].columns.plan] = total[0]
    chance: Floats = by_plan.take(place, axis=-1)
    joins = evidence.joins(path)
    return chance if joins is None else chance * joins
