"""The runs on held-out rows that a calibration is proved by: the router itself, and threshold rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.errors import GateError
from automix_cli.evaluation.bootstrap import Resamples
from automix_cli.evaluation.crossfit import Crossfit
from automix_cli.evaluation.held_out import HeldOut, HeldOutRun, held_out
from automix_cli.evaluation.objective import Objective
from automix_cli.evaluation.query_plan_family import QueryPlanFamily
from automix_cli.evaluation.question_family import QuestionFamily
from automix_cli.evaluation.rule_families import ThresholdFamily
from automix_cli.evaluation.signal_choice import Signals
from automix_cli.evaluation.verdict import OTHER_SHARES
from automix_cli.fitting.classes import ClassedTable, Classes
from automix_cli.fitting.query_router_kinds import ClassSource, WrittenKind
from automix_cli.fitting.router_block import Settings


class HeldOutTrial(Struct, frozen=True, kw_only=True):
    """What the runs of one calibration have in common.

    Attributes:
        table: the rows.
        settings: what the profile decides.
        objective: how settings are chosen.
        options: of cross-fitting.
        seed: of the divisions into folds.
        resamples: of the table's questions.
        signals: among which each outer fold chooses; None where there is no choice.
    """

    table: TraceTable
    settings: Settings
    objective: Objective
    options: Crossfit
    seed: int
    resamples: Resamples
    signals: Signals | None

    def run_router(
        self,
        kind: WrittenKind,
        classes: Classes,
        sources: Mapping[ClassSource, ClassedTable],
        advance: Callable[[], None],
    ) -> HeldOut:
        """Run the router by the objective, and by lower shares to keep.

        Args:
            kind: of the router.
            classes: what may tell questions apart beforehand.
            sources: what each source of classes says of all rows.
            advance: is called after each source in each outer fold.
        """
        is_fixed = self.objective.kind == "cost_weight"
        grid = replace(self.options.grid, fixed=(self.objective.value,) if is_fixed else ())
        family = QueryPlanFamily if kind == "pomdp" else QuestionFamily
        return held_out(
            self.table,
            family(settings=self.settings, grid=grid),
            [self.objective, *lower_shares(self.objective)],
            seed=self.seed,
            resamples=self.resamples,
            options=self.options,
            classes=classes,
            advance=advance,
            whole_tables={source: whole.table for source, whole in sources.items()},
            signals=self.signals,
        )

    def run_thresholds(self) -> HeldOutRun:
        """Run threshold rules, chosen by the same objective; by the default where ΔIBC is undefined."""
        if self.objective.kind != "ibc":
            return self._run_thresholds(self.objective)
        try:
            return self._run_thresholds(self.objective)
        except GateError:
            return self._run_thresholds(self.objective.without_weight())

    def _run_thresholds(self, objective: Objective) -> HeldOutRun:
        most = min(self.settings.max_votes, max(self.table.max_votes))
        return held_out(
            self.table,
            ThresholdFamily(settings=self.settings, max_votes=most),
            [objective],
            seed=self.seed,
            resamples=self.resamples,
            options=replace(self.options, repeats=1),
            signals=self.signals,
        ).runs[0]


def lower_shares(objective: Objective) -> list[Objective]:
    """Return the objectives at which routing may pay where it does not at this one."""
    if objective.kind != "keep":
        return []
    return [objective._replace(value=share) for share in OTHER_SHARES if share < objective.value]
