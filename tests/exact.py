"""The exact mean of what a policy earns under a model, by walking every observation: a second opinion."""

from __future__ import annotations

import itertools
from typing import Any

from automix_cli.pomdp.model import Model
from automix_cli.pomdp.observations import ConfidenceObservations, ConsistencyObservations, VoteObservations
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy, Visit, rollout


def states(model: Model) -> list[tuple[int, ...]]:
    """All states as tuples of 0 and 1, in the order of the prior."""
    return [tuple((s >> i) & 1 for i in range(len(model.tiers))) for s in range(2 ** len(model.tiers))]


def cell_of(seen: Any, state: tuple[int, ...], tier: int) -> int:
    rows = seen.shapes if isinstance(seen, VoteObservations) else seen.probabilities
    return state[tier] if len(rows) == 2 else 2 * state[tier] + state[-1]


def shown(
    model: Model, action: Action, state: tuple[int, ...], visits: list[Visit]
) -> list[tuple[float, Observation]]:
    """Every observation an action can show in a state, with its chance; votes are drawn one by one."""
    if action.kind == "vote":
        return shown_of_an_answer(model, action, state, visits[-1])
    failure = model.tiers[action.tier].failure
    answered = [
        (p * q * (1 - failure), o._replace(joins=joins))
        for p, o in shown_of_an_answer(model, action, state, Visit(action.tier))
        for q, joins in classes_joined(model, action.tier, state, visits)
    ]
    return [*answered, (failure, Observation(failed=True))] if failure else answered


def classes_joined(
    model: Model, tier: int, state: tuple[int, ...], visits: list[Visit]
) -> list[tuple[float, int | None]]:
    """Which class of equal answers a new one joins, with its chance: by odds, one class at a time."""
    law = model.agreement
    if law is None:
        return [(1.0, None)]
    classes: dict[int, list[Visit]] = {}
    for visit in visits:
        if not visit.failed:
            classes.setdefault(visit.joins, []).append(visit)  # type: ignore[arg-type]
    holds_right = {first: max(state[v.tier] for v in members) for first, members in classes.items()}
    alike = sum(is_right == state[tier] for is_right in holds_right.values())
    odds = {tier: 1.0}
    for first, members in classes.items():
        pair = law.pairs[tier][first]
        if holds_right[first] != state[tier]:
            odds[first] = law.one_right / (1 - law.one_right) / (len(classes) - alike)
        elif state[tier]:
            odds[first] = pair.both_right / (1 - pair.both_right) / alike
        else:
            q = law.groups[tier] if len(members) > 1 else pair.both_wrong
            odds[first] = q / (1 - q)
    return [(o / sum(odds.values()), first) for first, o in odds.items() if o]


def shown_of_an_answer(
    model: Model, action: Action, state: tuple[int, ...], seen: Visit
) -> list[tuple[float, Observation]]:
    """Every observation where the tier does not fail, with its chance."""
    signal = model.observation(action.tier)
    if action.kind == "vote" and isinstance(signal, VoteObservations):
        return draw_votes(signal, cell_of(signal, state, action.tier), action.votes, seen)
    if isinstance(signal, ConsistencyObservations):
        chances = signal.probabilities[cell_of(signal, state, action.tier)]
        return [(p, Observation(i + 1, signal.k, signal.k)) for i, p in enumerate(chances)]
    if isinstance(signal, ConfidenceObservations) and signal.with_answer == (action.kind != "vote"):
        cell, n_votes = cell_of(signal, state, action.tier), int(action.kind == "vote")
        gone = signal.missing[cell] if signal.missing else 0.0
        inside = [signal.cuts[0] - 1, *signal.cuts]  # the left end of a bin belongs to it
        found = [
            (p * (1 - gone), Observation(0, n_votes, n_votes, signal=x))
            for p, x in zip(signal.probabilities[cell], inside, strict=True)
        ]
        return [*found, (gone, Observation(0, 0, n_votes))] if gone else found
    return [(1.0, Observation())]


def draw_votes(
    signal: VoteObservations, cell: int, votes: int, seen: Visit
) -> list[tuple[float, Observation]]:
    """All sequences of verdicts; after c of t, the next parsed vote is CORRECT with (a + c)/(a + b + t)."""
    a, b = signal.shapes[cell]
    merged: dict[tuple[int, int], float] = {}
    for sequence in itertools.product((1, 0, None) if signal.unparsed else (1, 0), repeat=votes):
        chance, c, t = 1.0, seen.correct, seen.parsed
        for verdict in sequence:
            if verdict is None:
                chance *= signal.unparsed
                continue
            yes = (a + c) / (a + b + t)
            chance *= (1 - signal.unparsed) * (yes if verdict else 1 - yes)
            c, t = c + verdict, t + 1
        key = (c - seen.correct, t - seen.parsed)
        merged[key] = merged.get(key, 0.0) + chance
    return [(p, Observation(c, t, votes)) for (c, t), p in merged.items()]


def expectation(policy: Policy[Any], model: Model, facts: Facts = Facts()) -> tuple[float, float]:  # noqa: B008
    """Exact mean of score and planned cost of `rollout`, over all states and all observations."""
    tokens = max(model.mean_tokens if facts.prompt_tokens is None else facts.prompt_tokens, 1.0)
    prior = model.priors[facts.question_class if len(model.priors) > 1 else 0]
    chances = [(p, s) for p, s in zip(prior, states(model), strict=True) if p > 0]
    score = cost = 0.0
    waiting: list[tuple[tuple[Observation, ...], list[float]]] = [((), [p for p, _ in chances])]
    while waiting:
        past, weights = waiting.pop()
        run = rollout(policy, facts)
        turn, visits, spent = None, [], 0.0
        try:
            turn = next(run)
            for o in past:
                spent += model.charge(turn.action).at(tokens)
                visits = step(visits, turn.action, o)
                turn = run.send(o)
        except StopIteration as stop:
            turn = stop.value
        action = turn.action
        if action.final:
            cost += sum(weights) * spent
            score += sum(w * worth(model, action, s) for w, (_, s) in zip(weights, chances, strict=True))
            continue
        ahead: dict[Observation, list[float]] = {}
        for k, (w, (_, state)) in enumerate(zip(weights, chances, strict=True)):
            for p, o in shown(model, action, state, visits):
                ahead.setdefault(o, [0.0] * len(chances))[k] += w * p
        waiting += [((*past, o), ws) for o, ws in ahead.items()]
    return score, cost


def step(visits: list[Visit], action: Action, o: Observation) -> list[Visit]:
    if action.kind == "vote":
        return [*visits[:-1], visits[-1].after(o)]
    return [*visits, Visit(action.tier).after(o)]


def worth(model: Model, action: Action, state: tuple[int, ...]) -> float:
    if action.kind == "abstain":
        return 0.0 if model.abstain_value is None else model.abstain_value
    tier = model.tiers[action.tier]
    return tier.right if state[action.tier] else tier.wrong


def brute_force(model: Model) -> float:
    """The best value over all policy trees: expectimax over ordered histories, nothing shared."""
    chances = list(zip(model.priors[0], states(model), strict=True))
    return max(
        tree_value(model, Action("start", j), [p for p, _ in chances], []) for j in range(len(model.tiers))
    )


def tree_value(model: Model, action: Action, weights: list[float], visits: list[Visit]) -> float:
    """Value, times the chance of the history, of taking an action and then the best tree."""
    if action.final:
        return sum(w * worth(model, action, s) for w, s in zip(weights, states(model), strict=True))
    ahead: dict[Observation, list[float]] = {}
    for k, (w, state) in enumerate(zip(weights, states(model), strict=True)):
        for p, o in shown(model, action, state, visits):
            ahead.setdefault(o, [0.0] * len(weights))[k] += w * p
    value = -model.cost_weight * model.charge(action).at(1.0) * sum(weights)
    for o, ws in ahead.items():
        seen = step(visits, action, o)
        value += max(tree_value(model, next_action, ws, seen) for next_action in legal(model, seen))
    return value


def legal(model: Model, visits: list[Visit]) -> list[Action]:
    last = visits[-1]
    found = [Action("report", v.tier) for v in visits if not v.failed]
    found += [Action("escalate", j) for j in range(last.tier + 1, len(model.tiers))]
    if model.abstain_value is not None or not found:
        found.append(Action("abstain"))
    if last.failed:
        return found
    signal, left = model.observation(last.tier), model.tiers[last.tier].max_votes - last.n_votes
    if isinstance(signal, VoteObservations):
        found += [Action("vote", last.tier, m) for m in {*model.batch, left} if 0 < m <= left]
    if (
        isinstance(signal, ConfidenceObservations)
        and not signal.with_answer
        and left > 0
        and not last.n_votes
    ):
        found.append(Action("vote", last.tier, 1))
    return found
