"""`automix bench`: all policies on the same held-out rows, with intervals and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from automix_cli.api import CallOptions
from automix_cli.commands import options as o
from automix_cli.commands.bench_folder import ResultFolder, take_runs
from automix_cli.commands.bench_gates import Gating
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.commands.datasets import FREE_NOTE, TraceSource, check_embed_model, is_free
from automix_cli.data.destination import Destination
from automix_cli.data.labelled import DataFile, TableOptions, read_data
from automix_cli.errors import UsageError
from automix_cli.fitting.query_router_kinds import PriorChoice
from automix_cli.views.terminal import Reporter, name_status, print_json, print_text, stdout_console

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable
    from automix_cli.evaluation.baseline_policies import MajorityOfSamples
    from automix_cli.evaluation.objective import Objective
    from automix_cli.evaluation.partition import Partition
    from automix_cli.evaluation.play import Runs
    from automix_cli.evaluation.policy_entry import PolicyEntry
    from automix_cli.fitting.router_block import Settings
    from automix_cli.profile.model import Profile
    from automix_cli.views.bench_view import BenchView

ALL_RUNS_ROWS = 20_000  # above, runs.jsonl holds the chosen settings only


app = command_app()


@app.command("bench", cls=ModelCommand, no_args_is_help=True)
def bench(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Traces, or questions with answers.")],
    policies: Annotated[
        str,
        typer.Option(
            "--policies",
            metavar="A,B|all",
            help="Who takes part besides the single tiers.",
            autocompletion=o.complete_policies,
        ),
    ] = "all",
    split: Annotated[
        float | None,
        typer.Option(
            "--split",
            min=0.0,
            max=0.99,
            metavar="SHARE",
            help="Share of rows to learn from [0.5].",
            callback=o.finite,
        ),
    ] = None,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, max=1000, metavar="N", help="Average over N random splits.")
    ] = 1,
    keep: Annotated[
        float | None,
        typer.Option(
            "--keep",
            min=0.0,
            max=2.0,
            metavar="Q",
            help="Settings keep Q of the best tier [0.98].",
            callback=o.finite,
        ),
    ] = None,
    sure: o.Sure = 0.8,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            min=0.0,
            metavar="USD",
            help="Settings cost at most USD per 1,000.",
            callback=o.finite,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for runs, summary and chart.",
            callback=o.not_stdout,
        ),
    ] = None,
    runs: Annotated[
        Literal["all", "chosen", "none"] | None,
        typer.Option("--runs", help="Settings in runs.jsonl [all; chosen above 20,000 rows]."),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Write DIR/index.html, one page that needs no network.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw cost against quality in the terminal.")] = False,
    fail_under: Annotated[
        str | None,
        typer.Option(
            "--fail-under", metavar="EXPR", help="Exit 5 unless e.g. 'savings_at_95>=0.3,quality>=0.8'."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="Compare row by row with an earlier run's runs.jsonl."
        ),
    ] = None,
    require_proof: Annotated[
        bool,
        typer.Option("--require-proof", help="Exit 5, too, where rows are too few to tell if a gate is met."),
    ] = False,
    summary_file: Annotated[
        str | None,
        typer.Option("--summary", metavar="FILE", help='Append Markdown, e.g. to "$GITHUB_STEP_SUMMARY".'),
    ] = None,
    query_router: Annotated[
        PriorChoice,
        typer.Option("--query-router", help="The router that pomdp+query follows; auto: chosen in training."),
    ] = "multilabel",
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--labels-from", metavar="TIER", help="Without labels: agreement with this tier's answers."
        ),
    ] = None,
    baseline: o.BaselineTier = None,
    embed_model: o.EmbedModel = None,
    labels: o.LabelFileOption = None,
    traces: o.Traces = None,
    columns: o.ColumnMap = None,
    tiers: o.PickTiers = None,
    costs: o.Costs = None,
    vote_costs: o.VoteCosts = None,
    drop_incomplete: o.DropIncomplete = False,
    group: o.GroupColumn = None,
    class_column: o.ColumnOfClasses = None,
    signal: o.SignalName = None,
    folds: Annotated[int, typer.Option("--folds", min=2, max=20, metavar="N", help="Folds in training.")] = 5,
    seed: o.Seed = 0,
    profile: o.ProfileName = None,
    dry_run: o.DryRun = False,
    max_cost: o.MaxCost = None,
    concurrency: o.Concurrency = None,
    force: o.Force = False,
    no_cache: o.NoCache = False,
    refresh: o.Refresh = False,
    offline: o.Offline = False,
    json: o.AsJson = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Compare routing policies on your own rows: same rows held out for all, same costs, intervals.

    Rows that carry "tiers" are traces and need no calls; questions with "expected" are asked
    of every tier once, and all policies share what was paid. Settings are chosen on the
    training rows (their own "split", or --split). It ends with a verdict: route, do not
    route, or not enough rows.

    \b
    Examples:
      automix bench profiles/demo-questions.jsonl --profile demo -o out --html
      automix bench traces.jsonl --repeat 10 --policies threshold,pomdp --json
      automix bench traces.jsonl --fail-under 'savings_at_95>=0.3,quality>=0.8'
      automix bench q.jsonl --against main --fail-under 'quality_delta>=-0.01@95'
    """  # noqa: D301
    calls = CallOptions(
        profile=profile,
        no_cache=no_cache,
        refresh=refresh,
        offline=offline,
        concurrency=concurrency,
        max_cost=max_cost,
    )
    options = TableOptions(
        tiers=tiers,
        costs=costs,
        vote_costs=vote_costs,
        drop_incomplete=drop_incomplete,
        group=group,
        class_column=class_column,
        signal=signal,
        judge_samples=any(name.strip().startswith(("all", "maj")) for name in policies.split(",")),
    )
    job = _Job(
        policies=policies,
        query_router=query_router,
        class_column=class_column,
        signal=signal,
        split=split,
        repeat=repeat,
        seed=seed,
        folds=folds,
        objective=_objective(keep, sure, budget),
        gates=Gating.read(fail_under, against, needs_proof=require_proof, summary=summary_file),
        runs=runs,
        labels_from=labels_from,
        baseline=baseline,
        embed_model=embed_model,
        reporter=Reporter(quiet=quiet, verbose=verbose),
    )
    folder = _folder(output, runs, html=html, force=force)
    job.check()
    source = TraceSource(
        data=read_data(data, columns, job.reporter.say),
        options=options,
        calls=calls,
        reporter=job.reporter,
        traces=traces,
        labels_from=labels_from,
        labels=labels,
        baseline=baseline,
        force=force,
        embed_model=embed_model,
        command="bench",
    )
    if not source.is_recorded:
        job.check_tiers(source.profile())
        job.gates.check_questions(source.group_questions)
    if dry_run:
        raise typer.Exit(source.dry_run(json))
    with source.spending():
        view = job.run(source, folder, lambda view: _show(view, json, plot))
        job.gates.check(view, job.reporter.say)


def _folder(output: Path | None, runs: Runs | None, *, html: bool, force: bool) -> ResultFolder | None:
    """The folder of `-o`, if results go into one.

    Raises:
        UsageError: without one, an option that writes into it; or results are there already.
    """
    folder = None if output is None else ResultFolder(output, html=html, force=force)
    Destination(silent=folder is not None).check()
    if folder is None and (html or runs is not None):
        raise UsageError("--html and --runs write into a folder", hint="add -o DIR")
    return folder


def _objective(keep: float | None, sure: float, budget: float | None) -> Objective:
    from automix_cli.evaluation.objective import Objective

    if keep is not None and budget is not None:
        raise UsageError("--keep and --budget exclude each other")
    if budget is not None:
        return Objective("budget", budget / 1000)
    return Objective("keep", 0.98 if keep is None else keep, sure)


def _show(view: BenchView, as_json: bool, plot: bool) -> None:
    if as_json:
        from automix_cli.views.bench_files import summary

        print_json(summary(view))
        return
    from automix_cli.views.bench_tables import bench_parts

    console = stdout_console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge, and tiers have long names
    for part in bench_parts(view, console.width):
        console.print(part, soft_wrap=isinstance(part, str))
    if plot:
        from automix_cli.views.terminal_plot import terminal_plot

        print_text("\n" + terminal_plot(view, console.width))


def _config(data: DataFile, options: TableOptions, profile: str) -> dict[str, Any]:
    """What was read, and how."""
    keys = ("tiers", "costs", "vote_costs", "drop_incomplete", "group", "class_column", "signal")
    read = {"columns": data.columns and data.columns.text, **{key: getattr(options, key) for key in keys}}
    return {"data": data.name, "data_sha256": data.sha256, "profile": profile, **read}


# ---------------------------------------------------------------- the comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
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
    gates: Gating
    runs: Runs | None
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

    def check_tiers(self, profile: Profile) -> None:
        """Refuse what cannot work with the tiers that are about to be asked."""
        from automix_cli.cascade.estimate import samples_of
        from automix_cli.evaluation.baseline_policies import MajorityOfSamples
        from automix_cli.evaluation.policies import majorities, pick_policies

        tiers, samples = [tier.name for tier in profile.tiers], samples_of(profile)
        o.check_baseline(self.baseline, tiers)
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
        self.gates.check_policies([c.name for c in entries])

    def run(
        self, source: TraceSource, folder: ResultFolder | None, show: Callable[[BenchView], None]
    ) -> BenchView:
        """Read the rows, compare, write and show."""
        from automix_cli.profile.router import settings_of

        profile, table, _ = source.read()
        settings = settings_of(profile)
        if is_free(table) and not settings.value_of_time:
            self.reporter.say(FREE_NOTE)
        view = self._compare(table, settings, source.data, folder)
        config = {**self.config(), **_config(source.data, source.options, profile.name)}
        try:
            if folder is not None:  # first: whoever reads stdout may go away
                folder.write(view, settings, config)
        finally:
            show(view)
        if folder is not None:
            self.reporter.say(f"written: {', '.join(folder.names)} in {folder.path}")
        return view

    def _compare(
        self, table: TraceTable, settings: Settings, data: DataFile, folder: ResultFolder | None
    ) -> BenchView:
        from automix_cli.data.near_copies import join_near_copies
        from automix_cli.evaluation.bench import bench
        from automix_cli.evaluation.crossfit import Crossfit
        from automix_cli.evaluation.partition import has_own_split
        from automix_cli.evaluation.policy_entry import reads_questions
        from automix_cli.views.bench_view import BenchView, left_out_notes

        o.check_baseline(self.baseline, table.tiers)
        o.check_keep(self.objective.value if self.objective.kind == "keep" else None, table.beside)
        participants, notes = self._pick(table)
        if any(map(reads_questions, participants)):
            is_divided = self.split is None and has_own_split(table)
            table = join_near_copies(table, cut_templates=not is_divided)
        partitions, split_notes = self._partitions(table)
        runs = self.runs or ("all" if len(table) <= ALL_RUNS_ROWS else "chosen")
        runs = runs if folder is not None else "none"
        with take_runs(folder, runs) as on_run, name_status(self.reporter) as on_policy:
            comparison = bench(
                table,
                participants,
                settings,
                self.objective,
                partitions=partitions,
                options=Crossfit(folds=self.folds),
                runs=self.gates.least_runs(runs),
                on_run=self.gates.take_also(on_run),
                on_policy=on_policy,
                compare_signals=self.signal == "auto",
            )
        for note in left_out_notes(comparison.left_out):
            self.reporter.say(note)
        view = BenchView(
            comparison=comparison,
            table=table,
            source=data.name,
            sha256=data.sha256,
            notes=(*notes, *split_notes),
            baseline=self.baseline or table.beside,
        )
        return self.gates.compare(view)

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
            **self.gates.config(),
        }
