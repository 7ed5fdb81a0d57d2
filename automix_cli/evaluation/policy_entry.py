"""What `bench` asks of every policy that it compares.

    PolicyEntry.train(Split) ─▶ TrainedPolicy(curve, play) ─▶ play(setting) ─▶ Replayed

A policy sees the training rows when it is trained and nothing else. Its `curve` holds
every setting it has with a training point that is cross-fitted wherever something was
fitted; `play` runs one setting on the held-out rows, in the same `replay` for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import Outcomes, RowOutcomes, row_outcomes
from automix_cli.evaluation.crossfit import NO_CURVE, Curve
from automix_cli.evaluation.families import SettingRows
from automix_cli.evaluation.replay import Replayed
from automix_cli.evaluation.settings import CostWeight, Setting, narrow
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.policy import PomdpPolicy

if TYPE_CHECKING:
    from automix_cli.evaluation.split import Split

Group = Literal["single tier", "majority", "mix", "rule", "query", "pomdp", "bound"]
Play: TypeAlias = Callable[[Setting, "Ints | None"], Replayed]

Need: TypeAlias = Callable[[TraceTable], str]
"""Something that a policy needs of the rows: the reason why they lack it, "" where they do not."""


class TrainedPolicy(NamedTuple):
    """A policy that has learned.

    Attributes:
        curve: every setting, with what it scores and costs on training rows.
        play: runs a setting on held-out rows, all by default.
        play_all: runs several settings on all held-out rows at once, where that is quicker.
        seconds: the policy's own time to decide a held-out row by itself, where `play` would take more.
        fixed: there is one setting, the first of the curve, whatever the objective.
        path: the curve goes through the cost_weights of one planner; `runs.jsonl` holds them all.
        plan: the plan of a setting, where there is one that can be shown.
        own_test: the held-out rows as this policy is charged for them, where that is not as for all others.
    """

    curve: Curve
    play: Play
    play_all: Callable[[Sequence[Setting]], Iterator[RowOutcomes]] | None = None
    seconds: Callable[[Setting, int], float] | None = None
    fixed: bool = False
    path: bool = False
    plan: Callable[[Setting], PomdpPolicy | None] | None = None
    own_test: TraceTable | None = None


class PolicyEntry(Protocol):
    """One policy of the comparison."""

    @property
    def name(self) -> str:
        """The name in tables, files and `--policies`."""
        ...

    @property
    def group(self) -> Group:
        """What kind of policy it is."""
        ...

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it needs of the rows; the first that they lack is reported."""
        ...

    def train(self, split: Split) -> TrainedPolicy:
        """Learn from the training rows."""
        ...


# ------------------------------------------------------------------ what a policy needs of the rows


def several_tiers(table: TraceTable) -> str:
    """Require a choice of tiers."""
    return "there is one tier, so there is nothing to choose" if len(table.tiers) == 1 else ""


def question_texts(table: TraceTable) -> str:
    """Require the texts of questions, and scikit-learn to read them with."""
    if not any(table.texts):
        return "no question texts are recorded"
    if find_spec("sklearn") is None:
        return "scikit-learn is not installed (python -m pip install 'automix-cli[routers]')"
    return ""


def some_signal(table: TraceTable) -> str:
    """Require votes or a confidence."""
    return "" if shows_signal(table) else "no votes and no confidence are recorded"


def answers_compared(table: TraceTable) -> str:
    """Require the answers of all tiers, and a scorer under which they are equal or not."""
    return "" if table.compares_answers else "no answers are recorded that can be compared"


def every_label(table: TraceTable) -> str:
    """Require a label of every row, or of none: the best of scores that are expected is no answer's."""
    return "it takes a label of every row" if table.has_some_labels else ""


def two_tiers(table: TraceTable) -> str:
    """Require two tiers."""
    return "" if len(table.tiers) == 2 else "it handles two tiers"


def shows_signal(table: TraceTable) -> bool:
    """Tell whether any tier but the last has a signal on any row."""
    votes, confidence = table.votes[:, :-1], table.confidence[:, :-1]
    return bool(votes.any() or not np.isnan(confidence).all())


def reads_questions(entry: PolicyEntry) -> bool:
    """Tell whether a policy looks at the question, for which scikit-learn and question texts are needed."""
    return question_texts in entry.needs


def why_unable(entry: PolicyEntry, table: TraceTable) -> str:
    """Return why a policy cannot run on these rows; "" where it can."""
    return next((why for need in entry.needs if (why := need(table))), "")


# ------------------------------------------------------------------ what entries share


def rows_or_all(table: TraceTable, rows: Ints | None) -> Ints:
    """Return the places of some rows, or of all."""
    return np.arange(len(table)) if rows is None else rows


def one_tier(tiers: Ints, count: int) -> Floats:
    """Return the chances of tiers that are chosen for certain, n×N.

    Example:
        >>> one_tier(np.array([1, 0]), 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    chances: Floats = np.eye(count)[tiers]
    return chances


def replay_assigned(
    table: TraceTable,
    rows: Ints | None,
    chances: Floats,
    *,
    escalates: bool = False,
    abstain_value: float = 0.0,
) -> Replayed:
    """Replay rows on which a tier is chosen beforehand, each with a chance.

    Args:
        table: the recorded rows.
        rows: which of them; all by default.
        chances: n×N, or 1×N where they are the same on all rows.
        escalates: go on to the next tier where one gives no answer, and abstain after the last, as live;
            else that is a score of 0 at the tier's cost.
        abstain_value: the score of an abstention.
    """
    places = rows_or_all(table, rows)
    n, tiers = len(places), len(table.tiers)
    failed = table.failed[places] if escalates else np.zeros((n, tiers), dtype=bool)
    asks, pairs = _after_failures(failed, np.broadcast_to(chances, (n, tiers)))
    reports, nothing = pairs.sum(axis=1), np.zeros((n, tiers))
    abstained = np.where(failed.any(axis=1), np.maximum(1 - reports.sum(axis=1), 0.0), 0.0)
    escalated = (chances * failed)[:, :-1].sum(axis=1)
    outcomes = Outcomes(reports, asks, nothing, nothing, abstained, escalated)
    return Replayed(*row_outcomes(table, places, np.arange(n), outcomes, abstain_value), nothing, pairs)


def _after_failures(failed: Bools, chances: Floats) -> tuple[Floats, Floats]:
    """Return the chances to ask each tier (n×N), and of each first tier with each reported one (n×N×N)."""
    n, tiers = failed.shape
    asks, pairs = np.zeros((n, tiers)), np.zeros((n, tiers, tiers))
    for first in range(tiers):
        reach = chances[:, first]
        for tier in range(first, tiers):
            asks[:, tier] += reach
            pairs[:, first, tier] = np.where(failed[:, tier], 0.0, reach)
            reach = np.where(failed[:, tier], reach, 0.0)
            if not reach.any():
                break
    return asks, pairs


def curve_of(settings: Sequence[Setting], runs: Iterable[Replayed]) -> Curve:
    """Return the curve of settings that were replayed on all training rows; without any, they are equal.

    Args:
        settings: of the runs.
        runs: one after the other; of each only scores and costs are kept.
    """
    columns = [(run.score, run.cost, run.rows) for run in runs]
    if not columns:
        return NO_CURVE
    scores, costs, (rows, *_) = zip(*columns, strict=True)
    if not len(rows):
        nothing = np.zeros((len(columns), 1))
        return Curve(tuple(settings), SettingRows(nothing, nothing), np.zeros(1, dtype=np.intp))
    return Curve(tuple(settings), SettingRows(np.stack(scores), np.stack(costs)), rows)


def weight_settings(weights: Sequence[float]) -> tuple[Setting, ...]:
    """Return the settings of some cost_weights."""
    return tuple(CostWeight(weight) for weight in weights)


def weight_of(setting: Setting) -> float:
    """Return the cost_weight of a setting that has one."""
    return narrow(setting, CostWeight).value


def without_settings() -> TrainedPolicy:
    """Return a policy without settings, for want of rows: the comparison then takes a single tier."""

    def play(setting: Setting, rows: Ints | None) -> Replayed:
        raise ValueError(f"a policy without settings cannot be set to {setting}")

    return TrainedPolicy(NO_CURVE, play)
