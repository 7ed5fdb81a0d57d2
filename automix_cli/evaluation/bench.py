"""The comparison of policies: all learn from the same rows and are measured on the same others.

    table ─▶ partitions ─▶ for each: train all ─▶ choose settings ─▶ play ─▶ figures ─▶ Bench
                      (training rows)   (training points)   (held-out rows)

Nothing that is chosen looks at a held-out label. A policy's settings are the single tiers and
those of its cross-fitted training points that lie above their best mix and that no other beats; its
curve is those settings on the held-out rows, and its point is the one that the objective takes. Every
figure has a paired-bootstrap interval: all policies meet the same resamples of the rows, and where
random splits are repeated, rows are resampled once for all of them and figures averaged
over the splits within each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.duplicates import Duplicates
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.bench_verdict import find_alternative, judge, why_not_judged
from automix_cli.evaluation.beside import reports_of
from automix_cli.evaluation.bootstrap import BootstrapFigure, mean_figure, quality_gains, split_resamples
from automix_cli.evaluation.crossfit import CROSSFIT, Crossfit
from automix_cli.evaluation.curves import Measure
from automix_cli.evaluation.figures import CurveMeans, SplitResult
from automix_cli.evaluation.frontier import Point, mix_quality
from automix_cli.evaluation.loss import LossAgainst, loss_of
from automix_cli.evaluation.measures import MEASURES, compute_all, compute_slice, split_result
from automix_cli.evaluation.objective import Objective, SettingChoice, best_single
from automix_cli.evaluation.partition import Partition, dataset_names, duplicates_of
from automix_cli.evaluation.play import Run, Runs, SingleTiers, play_policy
from automix_cli.evaluation.policy_entry import Group, PolicyEntry, shows_signal
from automix_cli.evaluation.replay import Replayed
from automix_cli.evaluation.settings import Always, Setting
from automix_cli.evaluation.signal_choice import SignalComparison, Signals
from automix_cli.evaluation.split import Split
from automix_cli.evaluation.verdict import Alternative, RoutingVerdict
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats
from automix_cli.pomdp.plan import PlanRow
from automix_cli.pomdp.policy import PomdpPolicy

# ------------------------------------------------------------------ the result


class CurvePoint(NamedTuple):
    """A setting on a policy's curve: its point in training, and held out."""

    setting: Setting
    training: Point
    cost: Measure
    quality: Measure


class TierSpending(NamedTuple):
    """USD per question that went to a tier's answers and to its votes."""

    tier: str
    answers: float
    votes: float


class PolicyOutcome(Struct, frozen=True, kw_only=True):
    """The results of one policy.

    Attributes:
        name: of the policy; `group` its kind.
        choices: the setting in each split, with its training point.
        single_splits: in how many splits a single tier was chosen, or a setting that does the same.
        measures: by the key of every entry of `MEASURES`.
        by_split: the values of each measure in each split.
        curves: of each split.
        slices: the measures that are computed by dataset, per dataset.
        spending: per tier, mean over splits.
        seconds: the policy's own time for one question.
        verdict: whether it pays; None with too few questions to say anything.
    """

    name: str
    group: Group
    choices: tuple[SettingChoice, ...]
    single_splits: int
    measures: Mapping[str, Measure]
    by_split: Mapping[str, tuple[float | None, ...]]
    curves: tuple[tuple[CurvePoint, ...], ...]
    slices: Mapping[str, Mapping[str, Measure]]
    spending: tuple[TierSpending, ...]
    seconds: float
    verdict: RoutingVerdict | None

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The curve of the first split."""
        return self.curves[0]


class LeftOut(NamedTuple):
    """A policy that cannot be trained or played on these rows, and why."""

    name: str
    why: str


class EscalatedRow(NamedTuple):
    """A held-out row on which a later tier's answer may be reported.

    Attributes:
        row: its place in the table.
        first, last: the tier asked first, and the tier reported.
        before, after: the scores of their answers.
        chance: how likely that is, over the order of the votes.
    """

    row: int
    first: str
    last: str
    before: float
    after: float
    chance: float = 1.0


class Bench(Struct, frozen=True, kw_only=True):
    """The whole comparison.

    Attributes:
        tiers: their names, cheapest first; `small` and `large` are the cheapest and the dearest
            in training.
        partitions: the splits.
        outcomes: one per policy, in the order of the table.
        headline: the policy that the verdict is about.
        single: the tier to use where routing does not pay.
        alternative: where a single tier was chosen in every split, the strictest lower share of the best
            tier's quality to keep at which the headline policy surely pays; None where there is none.
        gains: quality points of the headline policy and of each tier alone above each tier alone, by
            (policy, tier).
        duplicates: per split.
        left_out: the policies that could not take part.
        no_verdict: why nothing can be said about the headline policy; "" where it can.
        escalated_rows: of the first split and the headline policy, those on which the score
            changed most first.
        plan: of the first split, where the headline policy has one.
        signals: the signal that was chosen in training, per split; empty where none was chosen.
        loss: of the headline policy against the baseline, where not every row has a label: of the split in
            which the most could be lost.
        plan_cuts: per tier, the edges between the bins of a continuous confidence in it.
    """

    tiers: tuple[str, ...]
    small: str
    large: str
    objective: Objective
    partitions: tuple[Partition, ...]
    outcomes: tuple[PolicyOutcome, ...]
    headline: str
    single: str
    alternative: Alternative | None
    gains: Mapping[tuple[str, str], Measure]
    duplicates: tuple[Duplicates, ...]
    left_out: tuple[LeftOut, ...] = ()
    no_verdict: str = ""
    escalated_rows: tuple[EscalatedRow, ...] = ()
    plan: tuple[PlanRow, ...] = ()
    plan_cuts: tuple[tuple[float, ...], ...] = ()
    signals: tuple[SignalComparison, ...] = ()
    loss: LossAgainst | None = None

    def outcome(self, name: str) -> PolicyOutcome:
        """Look up the results of a policy.

        Raises:
            UsageError: for a name that did not take part.
        """
        for outcome in self.outcomes:
            if outcome.name == name:
                return outcome
        names = ", ".join(o.name for o in self.outcomes)
        raise UsageError(f"no policy {name!r} took part", hint=f"there were {names}")


# ------------------------------------------------------------------ the comparison


def bench(
    table: TraceTable,
    entries: Sequence[PolicyEntry],
    settings: Settings,
    objective: Objective,
    *,
    partitions: Sequence[Partition],
    options: Crossfit = CROSSFIT,
    runs: Runs = "none",
    on_run: Callable[[Run], None] = lambda run: None,
    on_policy: Callable[[str], None] = lambda name: None,
    compare_signals: bool = False,
) -> Bench:
    """Compare policies on held-out rows.

    Args:
        table: rows that score every tier.
        entries: the policies to compare; every single tier of the table must be among them.
        settings: what the profile decides.
        objective: how each policy's setting is chosen, on training rows.
        partitions: the splits, see `partitions_of`.
        options: of cross-fitting in training.
        runs: of which settings each row is handed to `on_run`.
        on_run: takes the outcome of each setting as soon as there is one.
        on_policy: takes the name of each policy before it is trained.
        compare_signals: whether each split chooses, on its training rows, the signal for all policies.

    Raises:
        DataError: no row is held out, or a cost is not recorded.
        AutomixError: the only policy besides the single tiers cannot be trained or played; one of
            several is left out instead.
    """
    if not all(len(partition.test) for partition in partitions):
        raise DataError("no row is held out", hint="--split 0.5")
    table.require_costs()
    resamples = split_resamples([partition.test for partition in partitions], table, partitions[0].seed)
    signals = Signals.of(table, settings, options, partitions[0].seed) if compare_signals else None
    parts: list[dict[str, _Part]] = []
    left_out: dict[str, str] = {}
    comparisons: list[SignalComparison] = []
    for partition, own in zip(partitions, resamples, strict=True):
        split = Split.of(
            _with_signal(table, partition, signals, comparisons),
            partition.train,
            partition.test,
            seed=partition.seed,
            options=options,
            settings=settings,
        )
        session = _Session(SingleTiers.of(split, own), objective, runs, on_run, on_policy)
        entries = [entry for entry in entries if entry.name not in left_out]
        parts.append({part.name: part for part in session.play_all(entries, left_out)})
    names = [entry.name for entry in entries if entry.name not in left_out]
    result = _bench(table, objective, partitions, [{name: part[name] for name in names} for part in parts])
    return replace(
        result,
        left_out=tuple(LeftOut(*item) for item in left_out.items()),
        signals=tuple(comparisons),
    )


def _with_signal(
    table: TraceTable, partition: Partition, signals: Signals | None, comparisons: list[SignalComparison]
) -> TraceTable:
    """The table with the signal that a split's training rows choose; the choice is added to `comparisons`."""
    if signals is None:
        return table
    comparisons.append(signals.compare(np.isin(np.arange(len(table)), partition.train)))
    return signals.tables[comparisons[-1].name]


def _bench(
    table: TraceTable,
    objective: Objective,
    partitions: Sequence[Partition],
    parts: Sequence[Mapping[str, _Part]],
) -> Bench:
    """Put together what all policies came to in every split."""
    headline = _headline(parts[0].values(), table)
    first = parts[0][headline].result
    plan = _plan(first)
    return Bench(
        tiers=table.tiers,
        small=table.tiers[first.single.small],
        large=table.tiers[first.single.large],
        objective=objective,
        partitions=tuple(partitions),
        outcomes=tuple(_outcome([part[name] for part in parts]) for name in parts[0]),
        headline=headline,
        single=best_single(table.tiers, first.single.split.alone, objective, first.single.split.resamples),
        alternative=find_alternative([part[headline].result for part in parts], objective),
        no_verdict=next((why for part in parts if (why := why_not_judged(part[headline].result))), ""),
        gains=_gains(parts, headline, table.tiers),
        duplicates=tuple(duplicates_of(table, partition) for partition in partitions),
        escalated_rows=_escalated_rows(first),
        plan=tuple(plan.plan().rows()) if plan else (),
        plan_cuts=tuple(plan.cuts(j) for j in range(len(table.tiers))) if plan else (),
        loss=_loss([part[headline].result for part in parts]),
    )


def _loss(results: Sequence[SplitResult]) -> LossAgainst | None:
    """The loss of a policy against the baseline, of the split in which the most could be lost."""
    losses = [loss for result in results if (loss := _loss_of_split(result)) is not None]
    return max(losses, key=lambda loss: loss.most, default=None)


def _loss_of_split(result: SplitResult) -> LossAgainst | None:
    single, outcome = result.single, result.run.outcome
    test = single.split.test
    if single.resamples is None or test.relative is None:
        return None
    reports = reports_of(test, outcome.score, outcome.reports)
    return loss_of(test, reports, single.resamples, single.split.seed)


def _gains(
    parts: Sequence[Mapping[str, _Part]], headline: str, tiers: Sequence[str]
) -> dict[tuple[str, str], Measure]:
    """Quality points of the headline policy and of single tiers above single tiers, mean over splits."""
    names = dict.fromkeys([headline, *(f"always:{tier}" for tier in tiers)])
    qualities = {name: mean_figure([part[name].figures["quality"] for part in parts]) for name in names}
    return quality_gains(qualities, tiers, parts[0][headline].result.single.split.test.n_groups)


# ------------------------------------------------------------------ one split


class _Part(NamedTuple):
    """One policy in one split, with its figures and those of every dataset."""

    result: SplitResult
    figures: Mapping[str, BootstrapFigure]
    slices: Mapping[str, Mapping[str, BootstrapFigure]]

    @property
    def name(self) -> str:
        return self.result.run.entry.name


class _Session(NamedTuple):
    """One split, and what is wanted of it; see `bench`."""

    single: SingleTiers
    objective: Objective
    runs: Runs
    on_run: Callable[[Run], None]
    on_policy: Callable[[str], None]

    def play_all(self, entries: Sequence[PolicyEntry], left_out: dict[str, str]) -> Iterator[_Part]:
        """Play every policy; `pomdp` first, because `lead` compares the others with its curve.

        The reason why a policy cannot take part is added to `left_out`.
        """
        pomdp_curve: CurveMeans | None = None
        several = sum(entry.group != "single tier" for entry in entries) > 1
        for entry in sorted(entries, key=lambda entry: entry.name != "pomdp"):
            self.on_policy(entry.name)
            try:
                run = play_policy(entry, self.single, self.objective, self.runs, self.on_run)
            except (UsageError, DataError) as exc:
                if entry.group == "single tier" or not several:
                    raise
                left_out[entry.name] = exc.message
                continue
            result = split_result(run, self.single, pomdp_curve)
            pomdp_curve = result.pomdp_curve
            yield _Part(result, compute_all(result), _slices(result))


def _slices(result: SplitResult) -> dict[str, dict[str, BootstrapFigure]]:
    test = result.single.split.test
    return {name: compute_slice(result, test.datasets == name) for name in dataset_names(test)}


# ------------------------------------------------------------------ one policy over all splits


def _outcome(parts: Sequence[_Part]) -> PolicyOutcome:
    """Average one policy over all splits."""
    first, results = parts[0].result, [part.result for part in parts]
    runs = [result.run for result in results]
    figures = [part.figures for part in parts]
    measures = {spec.key: mean_figure([f[spec.key] for f in figures]).measure() for spec in MEASURES}
    return PolicyOutcome(
        name=first.run.entry.name,
        group=first.run.entry.group,
        choices=tuple(run.choice for run in runs),
        single_splits=sum(run.is_single_tier for run in runs),
        measures=measures,
        by_split={spec.key: tuple(f[spec.key].value for f in figures) for spec in MEASURES},
        curves=tuple(map(_curve_points, results)),
        slices=_mean_slices([part.slices for part in parts]),
        spending=_mean_spending(results),
        seconds=float(np.median([run.seconds for run in runs])),
        verdict=judge(measures["edge"], results),
    )


def _curve_points(result: SplitResult) -> tuple[CurvePoint, ...]:
    curve = result.curve
    return tuple(
        CurvePoint(
            c.setting,
            c.point,
            curve.cost.column(i).figure().measure(),
            curve.quality_at(i, result.questions),
        )
        for i, c in enumerate(result.run.curve)
    )


def _mean_slices(
    slices: Sequence[Mapping[str, Mapping[str, BootstrapFigure]]],
) -> dict[str, dict[str, Measure]]:
    """The figures of each dataset that has held-out rows in every split."""
    return {
        name: {key: mean_figure([own[name][key] for own in slices]).measure() for key in figures}
        for name, figures in slices[0].items()
        if all(name in own for own in slices)
    }


# ------------------------------------------------------------------ where the money went


def _mean_spending(results: Sequence[SplitResult]) -> tuple[TierSpending, ...]:
    tables = [result.run.policy.own_test or result.single.split.test for result in results]
    spending = [_spending(t, r.run.outcome) for t, r in zip(tables, results, strict=True)]
    names = results[0].single.names
    return tuple(
        TierSpending(name, *(float(x) for x in np.mean([own[j] for own in spending], axis=0)))
        for j, name in enumerate(names)
    )


def _spending(table: TraceTable, outcome: Replayed) -> Floats:
    """Mean USD per question, N×2: of each tier's answers and of its votes."""
    vote_costs = outcome.votes * _complete(table.vote_cost) + outcome.rounds * _complete(table.round_cost)
    both = np.stack([outcome.asks * _complete(table.cost), vote_costs], axis=2)
    means: Floats = both.mean(axis=0)
    return means


def _complete(costs: Floats) -> Floats:
    """Costs with the mean of the column where a row has none; 0 where no row has one: nothing was bought."""
    absent = np.isnan(costs)
    counts = np.maximum((~absent).sum(axis=0), 1)
    complete: Floats = np.where(absent, np.where(absent, 0.0, costs).sum(axis=0) / counts, costs)
    return complete


# ------------------------------------------------------------------ the policy of the verdict

_UNROUTED = ("single tier", "majority", "mix", "bound")


def _headline(parts: Iterable[_Part], table: TraceTable) -> str:
    """The policy that the verdict is about.

    `pomdp+class` where it takes part, else `pomdp` where rows show a signal, else the best in training.
    """
    by_name = {part.name: part.result for part in parts}
    if "pomdp+class" in by_name:
        return "pomdp+class"
    if "pomdp" in by_name and shows_signal(table):
        return "pomdp"
    routing = [result for result in by_name.values() if result.run.entry.group not in _UNROUTED]

    def edge(result: SplitResult) -> float:
        costs, qualities = np.array(result.single.training_points).T
        point = result.run.choice.point
        return float(point.quality - mix_quality(costs, qualities, point.cost))

    best = max(routing or by_name.values(), key=lambda r: (edge(r), r.run.entry.name != "pomdp"))
    return best.run.entry.name


def _escalated_rows(result: SplitResult) -> tuple[EscalatedRow, ...]:
    """The rows that may be escalated, those on which the score is expected to change most first.

    Where only some rows have a label, none: of the others it is not known how it changes.
    """
    if result.single.split.test.has_some_labels:
        return ()
    single, pairs = result.single, result.run.outcome.pairs
    later = ~np.eye(len(single.names), dtype=bool)
    rows = [
        EscalatedRow(
            row=int(single.split.rows[i]),
            first=single.names[first],
            last=single.names[last],
            before=float(single.scores[i, first]),
            after=float(single.scores[i, last]),
            chance=float(pairs[i, first, last]),
        )
        for i, first, last in np.argwhere((pairs > 0) & later)
    ]
    return tuple(sorted(rows, key=lambda row: -row.chance * abs(row.after - row.before)))


def _plan(result: SplitResult) -> PomdpPolicy | None:
    """The plan at the chosen setting, where there is one."""
    plan, setting = result.run.policy.plan, result.run.choice.setting
    return None if plan is None or isinstance(setting, Always) else plan(setting)
