"""A policy's own time: what it takes to decide one question, calls to models not counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.signatures import Evidence, evidence_of
from automix_cli.pomdp.arrays import Ints
from automix_cli.pomdp.problem import Action, Facts, Observation, Policy, Turn, rollout
from automix_cli.pomdp.signals import SIGNAL_FACTS


def clock(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def decision_seconds(policy: Policy[Any], table: TraceTable, row: int) -> float:
    """Time all decisions on one recorded row, whose votes come in a random order of a fixed seed."""
    answers = _RecordedRow(policy, table, row)
    run, seconds = rollout(policy, answers.facts()), 0.0
    observation: Observation | None = None
    while True:
        start = time.perf_counter()
        try:
            turn: Turn[Any] = next(run) if observation is None else run.send(observation)
        except StopIteration:
            return seconds + time.perf_counter() - start
        seconds += time.perf_counter() - start
        observation = answers.observe(turn.action)


class _RecordedRow:
    """One recorded row that answers a policy's actions."""

    def __init__(self, policy: Policy[Any], table: TraceTable, row: int) -> None:
        self._policy, self._table, self._row = policy, table, np.array([row])
        self._votes: dict[int, Ints] = {}
        self._rng = np.random.default_rng(row)

    def facts(self) -> Facts:
        """What is known of the question beforehand."""
        tokens = float(self._table.prompt_tokens[self._row][0])
        classes = self._table.question_classes
        question_class = 0 if classes is None else int(classes[self._row][0])
        read = self._table.question_logits
        logits = () if read is None else tuple(read[self._row][0].tolist())
        return Facts(None if np.isnan(tokens) else tokens, question_class, logits)

    def observe(self, action: Action) -> Observation:
        """Return what an action shows."""
        j, evidence = action.tier, self._evidence(action.tier)
        signal = SIGNAL_FACTS[self._table.signals[j]]
        if action.kind != "vote":
            observation = evidence.observations[0]
            return observation if signal.with_answer or observation.failed else Observation()
        if signal.purchase != "rounds":
            return evidence.observations[0]._replace(n_votes=action.votes)
        remaining = self._votes.setdefault(j, evidence.votes[0])
        correct, incorrect, unparsed = self._rng.multivariate_hypergeometric(remaining, action.votes)
        self._votes[j] = remaining - (correct, incorrect, unparsed)
        return Observation(int(correct), int(correct + incorrect), action.votes)

    def _evidence(self, j: int) -> Evidence:
        return evidence_of(self._table, self._row, j, self._policy.cuts(j))
