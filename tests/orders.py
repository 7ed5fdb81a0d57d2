"""What a policy does on one recorded row over every order of its votes: a second opinion on `replay`."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.replay import Replayed
from automix_cli.pomdp.problem import Action, Facts, History, Observation, Policy, rollout

TIERS = ("small", "middle", "large", "huge")
VOTES = 4


# ------------------------------------------------------------------ rows


def make_rows(
    n: int,
    seed: int = 0,
    *,
    tiers: int = 3,
    failures: float = 0.0,
    gaps: float = 0.0,
    answers: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Random rows: votes of which some are unparsed, more of them on some rows than on others.

    A cell fails with chance `failures`, and lacks a cost, a vote's cost or a latency with chance `gaps`.
    Its answer is drawn from `answers`.
    """
    rng, names = random.Random(seed), list(enumerate(TIERS[:tiers]))
    rows = [
        {"id": f"q{i}", "tiers": {name: _cell(rng, 10.0**k, failures, gaps) for k, name in names}}
        for i in range(n)
    ]
    for cell in (cell for row in rows for cell in row["tiers"].values() if "failed" not in cell and answers):
        cell["answer"] = rng.choice(answers)
    return rows


def _cell(rng: random.Random, cost: float, failures: float, gaps: float) -> dict[str, Any]:
    kinds = [1, 1, 1, 0, 0, None] if rng.random() < 0.7 else [1, 0]
    own: dict[str, Any] = {
        "cost": cost * rng.uniform(0.5, 1.5),
        "input_tokens": rng.choice([20, 300, 5000]),
        "latency": rng.random(),
    }
    if rng.random() < failures:
        return {**own, "failed": "filtered"}
    own |= {
        "score": rng.choice([0, 1, 0.25]),
        "votes": [rng.choice(kinds) for _ in range(VOTES + rng.choice([0, 0, 2]))],
        "confidence": rng.choice([None, 0.3, 0.5, rng.random(), rng.random()]),
        "vote_cost": cost / 7 * rng.uniform(0.5, 1.5),
        "round_cost": cost / 50 * rng.uniform(0.5, 1.5),
    }
    return {k: v for k, v in own.items() if k not in _GAPS or rng.random() >= gaps}


_GAPS = ("cost", "vote_cost", "round_cost", "latency")


def make_table(rows: list[dict[str, Any]], **options: Any) -> TraceTable:
    return read_table(enumerate(rows, start=1), **options)


@dataclass(frozen=True)
class Whimsical:
    """Decides anything legal by a hash of all it knows: no policy can depend on more, or on less of it."""

    salt: int
    tiers: int = 3
    max_votes: int = VOTES
    edges: tuple[float, ...] = (0.3, 0.5, 0.8)
    compares: bool = False

    def relevant(self, facts: Facts) -> Facts:
        return facts

    def begin(self, facts: Facts) -> tuple[Facts, History]:
        return facts, History()

    def update(
        self, belief: tuple[Facts, History], action: Action, seen: Observation
    ) -> tuple[Facts, History]:
        return belief[0], belief[1].after(action, seen)

    def action(self, belief: tuple[Facts, History]) -> Action:
        facts, history = belief
        known = [
            (v.tier, v.correct, v.parsed, v.n_votes, self.bin(v.signal), v.failed) for v in history.visits
        ] + [v.joins for v in history.visits if self.compares]
        rng = random.Random(f"{self.salt}{facts}{known}")
        if not history.visits:
            return Action("start", rng.randrange(self.tiers))
        last = history.last
        left = 0 if last.failed else self.max_votes - last.n_votes
        votes = [Action("vote", last.tier, m) for m in (1, 2, 3) if m <= left]
        later = [Action("escalate", j) for j in range(last.tier + 1, self.tiers)]
        ends = [Action("report", v.tier) for v in history.visits if not v.failed] + [Action("abstain")]
        return rng.choice([*votes, *votes, *votes, *later, *ends])

    def bin(self, signal: float | None) -> int | None:
        return None if signal is None else sum(signal >= edge for edge in self.edges)

    def confidence(self, belief: tuple[Facts, History], tier: int) -> float | None:
        return None

    def reason(self, belief: tuple[Facts, History]) -> str:
        return "a whim"

    def cuts(self, tier: int) -> tuple[float, ...]:
        return self.edges


# ------------------------------------------------------------------ every order


class Way(NamedTuple):
    """One course that a question may take, and its chance: tiers asked, votes and rounds by tier, the end."""

    chance: float
    action: Action
    asked: tuple[int, ...]
    votes: Counter[int]
    rounds: Counter[int]


def facts_of_row(table: TraceTable, i: int, question_class: int = 0) -> Facts:
    tokens = float(table.prompt_tokens[i])
    read = table.question_logits
    return Facts(
        None if math.isnan(tokens) else tokens, question_class, () if read is None else tuple(read[i])
    )


def ways(policy: Policy[Any], table: TraceTable, i: int, question_class: int = 0) -> Iterator[Way]:
    """`rollout` on a row for every sequence in which its votes can come."""
    waiting: list[tuple[tuple[Observation, ...], float]] = [((), 1.0)]
    while waiting:
        past, chance = waiting.pop()
        run = rollout(policy, facts_of_row(table, i, question_class))
        left = {j: Counter(_votes_of(table, i, j)) for j in range(len(table.tiers))}
        asked: list[int] = []
        n_votes, rounds = Counter[int](), Counter[int]()
        try:
            turn = next(run)
            for o in past:
                if turn.action.kind == "vote":
                    n_votes[turn.action.tier] += turn.action.votes
                    rounds[turn.action.tier] += 1
                    shown = {1: o.correct, 0: o.parsed - o.correct, None: o.n_votes - o.parsed}
                    left[turn.action.tier].subtract(shown)
                else:
                    asked.append(turn.action.tier)
                turn = run.send(o)
        except StopIteration as stop:
            yield Way(chance, stop.value.action, tuple(asked), n_votes, rounds)
            continue
        for o, p in shown_by(table, i, turn.action, left[turn.action.tier]).items():
            if policy.compares and turn.action.kind != "vote" and not o.failed:
                o = o._replace(joins=_equal_to(table, i, asked, turn.action.tier))
            waiting.append(((*past, o), chance * p))


def _equal_to(table: TraceTable, i: int, asked: list[int], tier: int) -> int | None:
    """The first tier asked whose answer is equal, the tier itself where there is none."""
    own = table.answer_classes[i, tier]
    same = [j for j in asked if table.answer_classes[i, j] == own >= 0]
    return same[0] if same else tier


def _votes_of(table: TraceTable, i: int, j: int) -> dict[int | None, int]:
    correct, incorrect, unparsed = map(int, table.votes[i, j])
    return {1: correct, 0: incorrect, None: unparsed}


def shown_by(
    table: TraceTable, i: int, action: Action, left: Counter[int | None]
) -> dict[Observation, float]:
    """What an action may show on a row, with its chance; votes are drawn one by one from what is left."""
    j = action.tier
    signal = None if np.isnan(table.confidence[i, j]) else float(table.confidence[i, j])
    if action.kind == "vote":
        if table.signals[j] == "verdict":
            return {Observation(n_votes=action.votes, signal=signal): 1.0}
        found = Counter[Observation]()
        for sequence, chance in _sequences(left, action.votes):
            unparsed = sequence.count(None)
            found[Observation(sequence.count(1), len(sequence) - unparsed, len(sequence))] += chance
        return found
    if table.failed[i, j]:
        return {Observation(failed=True): 1.0}
    if table.signals[j] == "consistency":
        k = int(table.sample_counts[i, j])
        return {Observation(round((signal or 0) * k), k, k): 1.0}
    return {Observation(signal=signal if table.signals[j] == "logprob" else None): 1.0}


def _sequences(left: Counter[int | None], votes: int) -> Iterator[tuple[tuple[int | None, ...], float]]:
    if not votes:
        yield (), 1.0
        return
    total = sum(left.values())
    assert total, "more votes than the row holds"
    for kind, count in left.items():
        if count:
            for rest, chance in _sequences(left - Counter([kind]), votes - 1):
                yield (kind, *rest), chance * count / total


# ------------------------------------------------------------------ expectation


def expectation_on_row(
    policy: Policy[Any],
    table: TraceTable,
    i: int,
    *,
    question_class: int = 0,
    abstain_value: float = 0.0,
) -> dict[str, Any]:
    """The fields of `Replayed` for one row, summed over all ways."""
    tiers = len(table.tiers)
    found: dict[str, Any] = dict.fromkeys(("score", "cost", "latency", "abstained", "escalated"), 0.0)
    found |= {name: np.zeros(tiers) for name in ("reports", "asks", "votes", "rounds", "checks")}
    found["pairs"] = np.zeros((tiers, tiers))
    for chance, action, asked, votes, rounds in ways(policy, table, i, question_class):
        fee = (0.0, 0.0) if table.fee is None else table.fee[i]
        dollars, seconds = fee[0], fee[1]
        for j in asked:
            dollars += price(table.cost, i, j)
            seconds += table.latency[i, j]
            if votes[j]:
                dollars += votes[j] * price(table.vote_cost, i, j)
                dollars += rounds[j] * np.nan_to_num(price(table.round_cost, i, j))
            found["asks"][j] += chance
            found["votes"][j] += chance * votes[j]
            found["rounds"][j] += chance * rounds[j]
            found["checks"][j] += chance * (votes[j] > 0)
        if action.kind == "abstain":
            found["score"] += chance * abstain_value
            found["abstained"] += chance
        else:
            found["score"] += chance * table.score[i, action.tier]
            found["reports"][action.tier] += chance
            found["pairs"][asked[0], action.tier] += chance
        found["cost"] += chance * dollars
        found["latency"] += chance * seconds
        found["escalated"] += chance * (len(asked) > 1)
    return found


def price(costs: np.ndarray, i: int, j: int) -> float:
    """What is recorded, else the mean of the tier."""
    known = [float(c) for c in costs[:, j] if not math.isnan(c)]
    if not math.isnan(costs[i, j]):
        return float(costs[i, j])
    return math.fsum(known) / len(known) if known else math.nan


def assert_equals_every_order(
    policy: Policy[Any],
    table: TraceTable,
    result: Replayed,
    *,
    classes: Any = None,
    abstain_value: float = 0.0,
) -> None:
    """Each field of each row equals its exact expectation over every order of the row's votes."""
    for place, i in enumerate(result.rows):
        wanted = expectation_on_row(
            policy,
            table,
            int(i),
            question_class=0 if classes is None else int(classes[i]),
            abstain_value=abstain_value,
        )
        for name, value in wanted.items():
            found = getattr(result, name)[place]
            np.testing.assert_allclose(found, value, rtol=1e-10, atol=1e-12, err_msg=f"{name} of row {i}")
