"""One run of `bench` against an earlier one, row by row: how a measure changed, and what a gate says.

    earlier runs.jsonl ─┐
                        ├─▶ questions of both ─▶ changes ─▶ interval ─▶ met │ missed │ cannot tell
    this run           ─┘

A gate is met where the whole interval lies on its good side, and missed where it lies on the other.
Policies are trained anew in every run, and on other answers they choose other settings by luck. The
interval is that for new questions, with that luck in it (`choice_luck.py`): none where all training rows
came out alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from msgspec import Struct

from automix_cli.data.groups import Grouping, why_no_verdict
from automix_cli.errors import UsageError
from automix_cli.evaluation.bootstrap import Interval
from automix_cli.evaluation.bootstrap import interval as interval_of
from automix_cli.evaluation.choice_luck import Luck, luck_of_two
from automix_cli.evaluation.gates import Gate, GateVerdict
from automix_cli.evaluation.measures import LINE_MEASURES, MEASURE_BY_KEY, MeasureSpec
from automix_cli.evaluation.paired import (
    PairedSums,
    paired_interval,
    rows_to_tell,
    smallest_loss_caught,
)
from automix_cli.evaluation.run_lines import RunLines
from automix_cli.pomdp.arrays import Floats, Ints

_EQUAL_SHARE = 1e-9  # values that differ by less, as a share of the larger, are equal
_BOUNDED_UNITS = ("score", "share")  # units of values in 0..1


class Change(NamedTuple):
    """How a measure of a policy changed, and what a gate says of it.

    Attributes:
        gate: the gate; without a sign it only reports.
        policy: of this run; `earlier` that of the earlier one.
        value: the mean change, or the ratio; None where it is undefined, for which `why` has the reason.
        interval: of the value, at the gate's level.
        differing: share of the rows on which the measure changed.
        verdict: "" for a gate that only reports.
        why: why nothing can be told.
        more_rows: how many more paired questions are likely needed to tell; None for nobody knows.
        catchable: the loss that would be caught in 8 of 10 runs, where the measure is quality.
        luck: how far the luck of training alone may move the change, at the gate's level; None for not.
        knows_luck: whether both runs tell of it.
    """

    gate: Gate
    policy: str
    earlier: str
    value: float | None
    interval: Interval | None
    differing: float
    verdict: GateVerdict | Literal[""]
    why: str = ""
    more_rows: int | None = None
    catchable: float | None = None
    luck: Interval | None = None
    knows_luck: bool = True


class ChangedRow(NamedTuple):
    """A question on which the score changed: its rows' ids, and by how much."""

    ids: str
    change: float


class Against(Struct, frozen=True, kw_only=True):
    """The comparison of a run with an earlier one.

    Attributes:
        source: the earlier run's file.
        by: "key" or "id": what rows were paired by.
        rows: in both; `questions` how many different ones, `groups` how many are drawn.
        only_here, only_there: rows of one run alone.
        same_seeds: whether both have the same splits.
        changes: of each gate, or what is reported where there is none.
        losses: the questions on which the headline's score fell most.
    """

    source: str
    by: str
    rows: int
    questions: int
    groups: int
    only_here: int
    only_there: int
    same_seeds: bool
    changes: tuple[Change, ...]
    losses: tuple[ChangedRow, ...]

    def verdicts(self, verdict: GateVerdict) -> list[Change]:
        """The changes of which a gate says so."""
        return [change for change in self.changes if change.verdict == verdict]


# ------------------------------------------------------------------ pairs


class _Pairs(NamedTuple):
    """Both runs on the K questions that they share, in the order of their keys.

    Attributes:
        rows: K, how many rows each has in this run.
        new, old: K×M, of each of `LINE_MEASURES`.
        groups: K, 0..G-1.
        ids: K, of the rows.
        only_here, only_there: rows of one run alone.
    """

    rows: Floats
    new: Floats
    old: Floats
    groups: Ints
    ids: tuple[str, ...]
    only_here: int
    only_there: int

    @classmethod
    def of(cls, here: RunLines, there: RunLines, names: tuple[str, str], groups: Mapping[str, int]) -> _Pairs:
        """Pair the questions of a policy of this run with those of one of the earlier run."""
        new, old = here.policies[names[0]], there.policies[names[1]]
        keys = sorted(new.keys() & old.keys())
        if not keys:
            raise UsageError(
                f"--against {there.source}: no row is held out in both runs",
                hint="both must read the same questions, with the same --split and --seed",
            )
        return cls(
            rows=np.array([len(new[key].ids) for key in keys], dtype=float),
            new=np.array([new[key].means for key in keys]),
            old=np.array([old[key].means for key in keys]),
            groups=np.unique([groups[key] for key in keys], return_inverse=True)[1].reshape(-1),
            ids=tuple(", ".join(sorted(new[key].ids)) for key in keys),
            only_here=sum(len(new[key].ids) for key in new.keys() - old.keys()),
            only_there=sum(len(old[key].ids) for key in old.keys() - new.keys()),
        )

    def change(self, spec: MeasureSpec) -> Floats:
        """How much a measure changed on each question; NaN where a run lacks it."""
        place = LINE_MEASURES.index(spec)
        new, old = self.new[:, place], self.old[:, place]
        change: Floats = new - old
        change[np.abs(change) <= _EQUAL_SHARE * np.maximum(np.abs(new), np.abs(old))] = 0.0
        return change

    def sums(self, spec: MeasureSpec, form: str) -> PairedSums:
        """The sums of each group, for the mean change or for its share of the earlier value."""
        change, old = self.change(spec), self.old[:, LINE_MEASURES.index(spec)]
        base = self.rows * old if form == "ratio" else self.rows
        parts = (self.rows * change, base, self.rows)
        change_sums, base_sums, rows = (np.bincount(self.groups, x).astype(float) for x in parts)
        largest = float(np.abs(change).max())
        most = max(largest, 1.0) if spec.unit in _BOUNDED_UNITS else largest
        return PairedSums(change_sums, base_sums, most * float(rows.mean()), float(base_sums.mean()))

    def why_no_verdict(self) -> str:
        """Why these pairs are too few to tell anything; "" where they are not."""
        return why_no_verdict(Grouping.of(np.repeat(self.groups, self.rows.astype(int)).astype(np.uint64)))


# ------------------------------------------------------------------ the comparison


def compare_runs(
    here: RunLines, there: RunLines, gates: Sequence[Gate], policy: str, groups: Mapping[str, int]
) -> Against:
    """Compare a run with an earlier one.

    Args:
        here: this run.
        there: the earlier one.
        gates: those that compare two runs; where there are none, quality and cost are reported.
        policy: the one that gates without a name are about.
        groups: of each question of this run, the group in which it is drawn.

    Raises:
        UsageError: a policy did not take part in the earlier run, no row is in both, or the scores are not
            comparable.
    """
    gates = gates or tuple(Gate("", key, "", 0.0, "delta") for key in ("quality", "cost"))
    changes = [_change(here, there, gate, gate.policy or policy, groups) for gate in gates]
    pairs = _Pairs.of(here, there, (policy, there.counterpart(policy)), groups)
    return Against(
        source=there.source,
        by=there.by,
        rows=int(pairs.rows.sum()),
        questions=len(pairs.rows),
        groups=int(pairs.groups.max()) + 1,
        only_here=pairs.only_here,
        only_there=pairs.only_there,
        same_seeds=here.seeds == there.seeds,
        changes=tuple(changes),
        losses=_losses(pairs),
    )


def _losses(pairs: _Pairs, most: int = 5) -> tuple[ChangedRow, ...]:
    """The questions on which the score fell most."""
    change = pairs.change(MEASURE_BY_KEY["quality"])
    order = [i for i in np.argsort(change, kind="stable")[:most] if change[i] < 0]
    return tuple(ChangedRow(pairs.ids[i], float(change[i])) for i in order)


def _change(here: RunLines, there: RunLines, gate: Gate, policy: str, groups: Mapping[str, int]) -> Change:
    earlier, spec = there.counterpart(policy), MEASURE_BY_KEY[gate.figure]
    if spec.key == "quality" and (measure := here.measure or there.measure):
        raise UsageError(
            f"--against {there.source}: a score is {measure} there or here, and no quality",
            hint="quality_delta takes two runs on rows that all have a label; cost_delta does not",
        )
    pairs = _Pairs.of(here, there, (policy, earlier), groups)
    differing = float(pairs.rows @ (pairs.change(spec) != 0) / pairs.rows.sum())
    report = Change(gate, policy, earlier, None, None, differing, "cannot tell" if gate.sign else "")
    report = report._replace(knows_luck=here.knows_luck(policy) and there.knows_luck(earlier))
    sums = pairs.sums(spec, gate.form)
    if np.isnan(sums.change).any():
        return report._replace(why=f"no {spec.key} is recorded on some rows")
    if sums.base.sum() <= 0:
        return report._replace(why=f"the earlier {spec.key} is 0, and has no ratio")
    offset = 1.0 if gate.form == "ratio" else 0.0
    luck, earlier_mean = _luck(sums, report, here, there), sums.base.sum() / pairs.rows.sum()
    if len(luck.moves):
        sums = sums._replace(luck=luck.moves / earlier_mean, effect=luck.effect / earlier_mean)
        report = report._replace(luck=interval_of(sums.luck, gate.share))
    interval = Interval(*(bound + offset for bound in paired_interval(sums, gate.share)))
    report = report._replace(value=sums.value + offset, interval=interval)
    if why := pairs.why_no_verdict():
        return report._replace(why=why)
    return _with_verdict(report, sums, offset)


def _luck(sums: PairedSums, report: Change, here: RunLines, there: RunLines) -> Luck:
    """How far luck of training alone moves the mean change.

    Of a ratio r it is that of `new - r · earlier`: to the first order, both over the earlier mean.
    """
    runs = ((here, report.policy), (there, report.earlier)) if report.knows_luck else ()
    own, earlier = [run.choices.get(policy, {}) for run, policy in runs] or [{}, {}]
    times = 1 + sums.value if report.gate.form == "ratio" else 1.0
    return luck_of_two(own, earlier, report.gate.figure, times)


def _with_verdict(report: Change, sums: PairedSums, offset: float) -> Change:
    """A change with what its gate says, and how many rows it takes where it cannot tell."""
    gate, groups = report.gate, len(sums.change)
    if gate.figure == "quality" and gate.form == "delta":
        report = report._replace(catchable=_catchable_loss(sums, gate))
    if not gate.sign or report.interval is None:
        return report
    if verdict := gate.verdict(report.interval):
        return report._replace(verdict=verdict)

    def is_told(own: Interval) -> bool:
        return bool(gate.verdict(Interval(own.low + offset, own.high + offset)))

    total = rows_to_tell(sums, groups, gate.share, is_told)
    return report._replace(more_rows=None if total is None else max(1, total - groups))


def _catchable_loss(sums: PairedSums, gate: Gate) -> float | None:
    """The loss that the gate would catch in 8 of 10 runs, with so many rows that differ so much."""
    bar = gate.value if gate.sign.startswith(">") else 0.0
    spread = float(np.mean((sums.change / sums.base) ** 2))
    return smallest_loss_caught(
        len(sums.change), min(spread, 1.0), min(bar, 0.0), gate.share, luck=sums.luck, effect=sums.effect
    )
