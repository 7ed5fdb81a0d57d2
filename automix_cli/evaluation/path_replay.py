"""Replay of a whole path of plans in one array pass, in exact expectation over vote orders.

A plan says in how many orders each history is met when it is followed. Times the probability
to draw one such order from a row's recorded votes, that is the chance that the row meets the
history. Both are arrays, so all cost_weights and all signatures are played by matrix products.
`replay` plays one policy of any kind; the tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from automix_cli.evaluation.charges import Outcomes
from automix_cli.evaluation.replay import combinations
from automix_cli.evaluation.signatures import Evidence
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import PlanStep, TierPath
from automix_cli.pomdp.induction import PlanPath
from automix_cli.pomdp.observations import Counts, CountTable, ObservationModel, VoteObservations
from automix_cli.pomdp.problem import Observation, Visit


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


def play_path(
    path: PlanPath, orders: Mapping[TierPath, Floats], places: Ints, evidence: SignatureEvidence
) -> Outcomes:
    """Play the plans at some places of a path.

    Args:
        path: the plans; they begin before any call.
        orders: `path.orders()`.
        places: which of them, W.
        evidence: what the tiers show.
    """
    tiers = len(path.histories.model.tiers)
    reports, asks, votes, rounds, abstained, escalated = Outcomes.nothing((len(places), evidence.size), tiers)
    for steps, block in path.blocks.items():
        leads = np.asarray(orders[steps].any(axis=(1, 2)))
        own = np.flatnonzero(leads[places])  # the plans that lead there
        ways, choice = orders[steps][places[own]], block.choice[places[own]]
        for code in np.flatnonzero(np.bincount(choice[ways > 0])):
            action = path.actions[code]
            if action.kind in ("start", "escalate"):
                continue
            chance = _meet(path, steps, np.where(choice == code, ways, 0.0), evidence)
            if action.kind == "vote":
                votes[own, :, action.tier] += action.votes * chance
                rounds[own, :, action.tier] += chance
                continue
            if action.kind == "report":
                reports[own, :, action.tier] += chance
            else:
                abstained[own] += chance
            for step in steps:
                asks[own, :, step.tier] += chance
            if len(steps) > 1:
                escalated[own] += chance
    return Outcomes(reports, asks, votes, rounds, abstained, escalated)


def _meet(path: PlanPath, steps: TierPath, ways: Floats, evidence: SignatureEvidence) -> Floats:
    """Sum over the histories of a block: orders times the chance of one, W×S.

    Signatures are combinations of few kinds of evidence per tier. So the sums are made for all
    combinations of kinds, one tier after the other, as long as these are fewer than the signatures.
    """
    plans, place = len(ways), np.zeros(evidence.size, dtype=np.intp)
    total: Floats = ways.reshape(plans, -1, 1)
    for step in reversed(steps):
        width = len(path.histories.table(step).counts)
        kinds, code = evidence.of(step, width)
        total = total.reshape(plans, -1, width, total.shape[-1])
        if len(kinds) * total.shape[-1] <= evidence.size:
            place = place + code * total.shape[-1]
            total = (kinds @ total).reshape(plans, total.shape[1], -1)
        else:
            total = np.einsum("weks,sk->wes", total[..., place], kinds[code])
            place = np.arange(evidence.size)
    chance: Floats = total[:, 0].take(place, axis=-1)
    joins = evidence.joins(steps)
    return chance if joins is None else chance * joins
