"""What `bench` does with rows: who takes part, how rows are split, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from automix_cli.errors import UsageError
from automix_cli.fitting.query_router_kinds import PriorChoice
from automix_cli.library.option_checks import check_baseline, check_keep
from automix_cli.library.trace_source import check_embed_model
from automix_cli.views.terminal import Reporter, name_status

if TYPE_CHECKING:
    from automix_cli.data.labelled import DataFile
    from automix_cli.data.traces import TraceTable
    from automix_cli.evaluation.baseline_policies import MajorityOfSamples
    from automix_cli.evaluation.objective import Objective
    from automix_cli.evaluation.partition import Partition
    from automix_cli.evaluation.play import Run, Runs
    from automix_cli.evaluation.policy_entry import PolicyEntry
    from automix_cli.fitting.router_block import Settings
    from automix_cli.profile.model import Profile
    from automix_cli.views.bench_view import BenchView

TakeRuns: TypeAlias = "AbstractContextManager[Callable[[Run], None]]"
"""Entered when the runs begin; gives what takes each."""


def _drop(run: Run) -> None:
    """Nobody wants the runs."""


NO_RUNS: TakeRuns = nullcontext(_drop)


def bench_objective(keep: float | None, sure: float, budget: float | None) -> Objective:
    """What settings are chosen for.

    Raises:
        UsageError: both are given.
    """
    from automix_cli.evaluation.objective import Objective

    if keep is not None and budget is not None:
        raise UsageError("--keep and --budget exclude each other")
    if budget is not None:
        return Objective("budget", budget / 1000)
    return Objective("keep", 0.98 if keep is None else keep, sure)


def reads_samples(policies: str) -> bool:
    """Whether some policy looks at several recorded answers of one tier.

    Example:
        >>> reads_samples("threshold,maj@3"), reads_samples("threshold")
        (True, False)
    """
    return any(name.strip().startswith(("all", "maj")) for name in policies.split(","))


class BenchJob(Struct, frozen=True, kw_only=True):
    """Who is compared, how rows are split and how settings are chosen."""

    policies: str
    query_router: PriorChoice
    class_column: str | None
    signal: str | None
    split: float | None
    repeat: int
    seed: int
    folds: int
    objective: Objective
    labels_from: str | None
    baseline: str | None
    embed_model: str | None
    reporter: Reporter

    def check(self) -> None:
        """Refuse what cannot work before anything is spent."""
        from automix_cli.evaluation.policies import pick_policies
        from automix_cli.evaluation.policy_entry import reads_questions
        from automix_cli.fitting.fit_query_router import require_sklearn

        of_tiers = ("always", "maj", "agreement")
        without_tiers = ",".join(n for n in self.policies.split(",") if not n.strip().startswith(of_tiers))
        entries = pick_policies(without_tiers, self._policies(()))
        looking = any(reads_questions(c) for c in entries)
        if self.embed_model is not None:
            check_embed_model(self.embed_model, "" if looking else "--policies all, knn or pomdp+query do")
        others = [c for c in entries if c.group != "single tier" and not reads_questions(c)]
        if looking and (not others or self.embed_model is not None):
            require_sklearn()

    def check_tiers(self, profile: Profile) -> list[str]:
        """Refuse what cannot work with the tiers that are about to be asked; the names of who takes part."""
        from automix_cli.cascade.estimate import samples_of
        from automix_cli.evaluation.baseline_policies import MajorityOfSamples
        from automix_cli.evaluation.policies import majorities, pick_policies

        tiers, samples = [tier.name for tier in profile.tiers], samples_of(profile)
        check_baseline(self.baseline, tiers)
        candidates = self._policies(tiers, majorities(self.policies, tiers, samples))
        entries = pick_policies(self.policies, candidates)
        others = [c for c in entries if not isinstance(c, MajorityOfSamples) and c.group != "single tier"]
        for entry in entries if not others else ():
            if isinstance(entry, MajorityOfSamples) and entry.k > samples[tiers.index(entry.tier)]:
                sample_count = samples[tiers.index(entry.tier)] or 1
                raise UsageError(
                    f"{entry.name} cannot take part: profile {profile.name} asks {entry.tier} "
                    f"for {sample_count} of {entry.k} answers",
                    hint="signal: consistency asks each tier but the last for max_votes answers",
                )
        return [c.name for c in entries]

    def compare(
        self,
        table: TraceTable,
        settings: Settings,
        data: DataFile,
        runs: Runs = "none",
        take: TakeRuns = NO_RUNS,
    ) -> BenchView:
        """Compare all policies on a table.

        Args:
            table: of the rows of `data`.
            settings: of the profile.
            data: where the rows come from.
            runs: which runs of policies over rows are wanted.
            take: gets them, as they come.
        """
        from automix_cli.data.near_copies import join_near_copies
        from automix_cli.evaluation.bench import bench
        from automix_cli.evaluation.crossfit import Crossfit
        from automix_cli.evaluation.partition import has_own_split
        from automix_cli.evaluation.policy_entry import reads_questions
        from automix_cli.views.bench_view import BenchView, left_out_notes

        check_baseline(self.baseline, table.tiers)
        check_keep(self.objective.value if self.objective.kind == "keep" else None, table.beside)
        participants, notes = self._pick(table)
        if any(map(reads_questions, participants)):
            is_divided = self.split is None and has_own_split(table)
            table = join_near_copies(table, cut_templates=not is_divided)
        partitions, split_notes = self._partitions(table)
        with take as on_run, name_status(self.reporter) as on_policy:
            comparison = bench(
                table,
                participants,
                settings,
                self.objective,
                partitions=partitions,
                options=Crossfit(folds=self.folds),
                runs=runs,
                on_run=on_run,
                on_policy=on_policy,
                compare_signals=self.signal == "auto",
            )
        for note in left_out_notes(comparison.left_out):
            self.reporter.say(note)
        return BenchView(
            comparison=comparison,
            table=table,
            source=data.name,
            sha256=data.sha256,
            notes=(*notes, *split_notes),
            baseline=self.baseline or table.beside,
        )

    def _partitions(self, table: TraceTable) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
        """The splits, with a note where the rows' own could not be used."""
        from automix_cli.evaluation.partition import has_own_split, partitions_of

        partitions = tuple(partitions_of(table, self.split, repeat=self.repeat, seed=self.seed))
        if self.split is None and any(table.splits) and not has_own_split(table):
            return partitions, ('the rows\' own "split" is not train and test, so one was drawn',)
        return partitions, ()

    def _pick(self, table: TraceTable) -> tuple[tuple[PolicyEntry, ...], tuple[str, ...]]:
        """Pick the policies that can run on these rows; the others are left out with a note."""
        from automix_cli.evaluation.bench import LeftOut
        from automix_cli.evaluation.policies import majorities, pick_policies
        from automix_cli.evaluation.policy_entry import why_unable
        from automix_cli.views.bench_view import left_out_notes

        several = majorities(self.policies, table.tiers, table.fewest_samples)
        candidates = self._policies(table.tiers, several)
        entries = pick_policies(self.policies, candidates)
        left_out = [LeftOut(c.name, why) for c in entries if (why := why_unable(c, table))]
        names = {one.name for one in left_out}
        able = [c for c in entries if c.name not in names]
        if left_out and "all" not in self._names() and all(c.group == "single tier" for c in able):
            raise UsageError(f"{left_out[0].name} cannot take part: {left_out[0].why}")
        notes = tuple(left_out_notes(left_out))
        if "all" not in self._names():
            for note in notes:
                self.reporter.say(note)
        if table.embeddings is not None:
            usd = float(table.embeddings.cost.mean())
            notes += (
                f"query-side routers read embeddings of {table.embeddings.model}: {1000 * usd:.4g} USD "
                f"per 1,000 questions and {table.embeddings.latency.mean():.2g} s each, in their figures",
            )
        return tuple(able), notes

    def _policies(
        self, tiers: Sequence[str], majorities: Sequence[MajorityOfSamples] = ()
    ) -> tuple[PolicyEntry, ...]:
        """Every policy that there is with these options."""
        from automix_cli.evaluation.policies import all_policies

        return all_policies(tiers, self.query_router, majorities, self.objective, self.class_column)

    def _names(self) -> list[str]:
        return [name.strip() for name in self.policies.split(",")]

    def config(self) -> dict[str, Any]:
        """The options, as they were understood."""
        return {
            "policies": self.policies,
            "query_router": self.query_router,
            "split": self.split,
            "repeat": self.repeat,
            "seed": self.seed,
            "folds": self.folds,
            "objective": self.objective._asdict(),
            "labels_from": self.labels_from,
            "baseline": self.baseline,
            "embed_model": self.embed_model,
        }
