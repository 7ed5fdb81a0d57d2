"""The prior of routing without calibration: fit it to recorded sets, and measure it on sets left out.

    python tests/benchmarks/public_prior.py [--prices] [--numbers]

A kind is what `fit` learns from one recorded set with votes: how often each tier is right, and what
votes show then. Kinds of the same questions or of the same verifier make a family. Every family is
measured with the prior of the other families. `give_up` is chosen among them by the same rule one
level down: the largest at which each of them, under the prior of the rest, keeps 98 % of the large
tier's quality and costs at most 1.02 times as much, at all prices. Beside it stands the rule of half,
which buys up to 8 votes and reports an answer when at least half of them say CORRECT, and fixed
values of `give_up`. `--numbers` prints the kinds as `automix_cli/fitting/public_prior.py` holds them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from recorded import DATA, VOTED, Recorded
from runs import table_head, table_line

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.replay import replay
from automix_cli.fitting.fit import fit
from automix_cli.fitting.public_prior import AIM, GIVE_UPS, MOST_COST, public_prior
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.cost import Cost
from automix_cli.pomdp.observations import VoteObservations
from automix_cli.pomdp.pair_plan import LARGE, SetKind, VoteEvidence
from automix_cli.pomdp.prior_policy import PriorPolicy, TierCosts
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.rules import MajorityPolicy

MOST_VOTES = 8
RATIOS, VOTES = (2.0, 10.0, 25.0, 60.0, 1000.0), (1 / 8, 1 / 2, 1.0, 2.0)


class Price(NamedTuple):
    """The large tier's price and that of a vote, in prices of the small tier."""

    large: float
    vote: float


PRICES = tuple(Price(large, vote) for large in RATIOS for vote in VOTES)
SETS = (*VOTED[:1], Recorded("cruxeval_output", "ensemble5-small", "gpt-4o-2024-08-06"), *VOTED[1:])


class Outcome(NamedTuple):
    """What a policy came to on a set: quality and cost as shares of the large tier's, and votes a row."""

    kept: float = 1.0
    cost: float = 1.0
    votes: float = 0.0


@cache
def table_of(recorded: Recorded, price: Price = PRICES[0]) -> TraceTable:
    """All rows of a set at a price."""
    return recorded.priced(recorded.table(), price.large, price.vote)


def parts(recorded: Recorded) -> Iterator[TraceTable]:
    """The data sets within a recorded set: each is a kind."""
    with recorded.path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for name in dict.fromkeys(row["dataset"] for row in rows):
        own = (row for row in rows if row["dataset"] == name)
        table = read_table(enumerate(own, 1), tiers=(recorded.small, recorded.large))
        yield recorded.priced(table.require_scores(drop=True), 10.0, 0.1)


@cache
def kinds(recorded: Recorded) -> tuple[SetKind, ...]:
    """What is learned from a set."""
    return tuple(kind_of(recorded.name, table) for table in parts(recorded))


def kind_of(family: str, table: TraceTable) -> SetKind:
    """What is learned from one table."""
    fitted = fit(table, Settings(max_votes=max(table.max_votes)))
    small, large = fitted.tiers
    if not isinstance(small.observation, VoteObservations):
        raise ValueError(f"{family}: {small.note}")
    return SetKind(
        family,
        tuple(round(p, 3) for p in fitted.priors()[0]),
        tuple((round(a, 2), round(b, 2)) for a, b in small.observation.shapes),
        (round(small.wrong.mean(0.0), 3), round(small.right.mean(1.0), 3)),
        (round(large.wrong.mean(0.0), 3), round(large.right.mean(1.0), 3)),
    )


def policy_of(sets: Sequence[Recorded], price: Price, give_up: float, votes: int) -> PriorPolicy:
    """The policy under the prior of some sets."""
    evidence = VoteEvidence(public_prior([kind for recorded in sets for kind in kinds(recorded)]))
    costs = (TierCosts(Cost(1.0), Cost(price.vote)), TierCosts(Cost(price.large)))
    return PriorPolicy(evidence, costs, give_up, votes)


@cache
def measure(recorded: Recorded, learn: tuple[Recorded, ...], price: Price, give_up: float) -> Outcome:
    """Play the policy learned from some sets on another."""
    table = table_of(recorded, price)
    policy = policy_of(learn, price, give_up, min(MOST_VOTES, table.max_votes[0]))
    if policy.action(policy.begin(Facts())).tier == LARGE:
        return Outcome()
    return outcome_of(policy, table)


def outcome_of(policy: Policy[Any], table: TraceTable) -> Outcome:
    """Play a policy on all rows."""
    run, quality = replay(policy, table), table.score.mean(axis=0)
    cost = float(run.cost.mean() / table.mean_cost[-1])
    return Outcome(float(run.score.mean() / quality[-1]), cost, float(run.votes.sum(axis=1).mean()))


@cache
def rule_of_half(recorded: Recorded, price: Price) -> Outcome:
    """The rule that the prior takes the place of."""
    table = table_of(recorded, price)
    return outcome_of(MajorityPolicy(2, min(MOST_VOTES, table.max_votes[0])), table)


def without(family: str, sets: Sequence[Recorded]) -> tuple[Recorded, ...]:
    """The sets of other families."""
    return tuple(recorded for recorded in sets if recorded.name != family)


def choose(sets: tuple[Recorded, ...]) -> float:
    """The largest `give_up` that keeps the aim on every set, each left out in turn; else the smallest."""
    for give_up in sorted(GIVE_UPS, reverse=True):
        outcomes = (
            measure(recorded, without(recorded.name, sets), price, give_up)
            for recorded in sets
            for price in PRICES
        )
        if all(o.kept >= AIM and o.cost <= MOST_COST for o in outcomes):
            return give_up
    return min(GIVE_UPS)


def worst(outcomes: Sequence[Outcome]) -> str:
    """The range of quality and cost over prices, and the most votes."""
    kept, cost, votes = zip(*outcomes, strict=True)
    return " · ".join((f"{min(kept):.1%}", f"{min(cost):.2f}–{max(cost):.2f}", f"{max(votes):.1f}"))


def lines(sets: Sequence[Recorded], prices: Sequence[Price]) -> Iterator[str]:
    """A table: least quality, range of cost and most votes over the prices, on each set left out."""
    fixed = [g for g in GIVE_UPS if g >= 0.01]
    yield table_head(
        "set left out", "rule of half", "chosen", "with it", *(f"give_up {give_up:g}" for give_up in fixed)
    )
    for recorded in sets:
        learn = without(recorded.name, sets)
        chosen = choose(learn)
        cells = [worst([rule_of_half(recorded, p) for p in prices]), f"{chosen:g}"]
        for give_up in (chosen, *fixed):
            cells.append(worst([measure(recorded, learn, p, give_up) for p in prices]))
        yield table_line(f"{recorded.name}: {recorded.small}", *cells)


def numbers(sets: Sequence[Recorded]) -> Iterator[str]:
    """The kinds as source text."""
    for recorded in sets:
        yield from (f"    {kind!r}," for kind in kinds(recorded))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--prices", action="store_true", help="a table for each price")
    parser.add_argument("--numbers", action="store_true", help="the kinds, as source text")
    args = parser.parse_args()
    if not DATA.exists():
        sys.exit("no recorded sets at hand: set AUTOMIX_DATA")
    if args.numbers:
        print("\n".join(numbers(SETS)))
        return
    groups = [(price,) for price in PRICES] if args.prices else [PRICES]
    for group in groups:
        words = f"1:{group[0].large:g}, a vote {group[0].vote:g}" if args.prices else f"{len(group)} prices"
        print(f"\n{words}: least quality kept · cost · most votes a question\n")
        print("\n".join(lines(SETS, group)), flush=True)
    print(f"\nchosen with all sets: give_up {choose(SETS):g}")


if __name__ == "__main__":
    main()
