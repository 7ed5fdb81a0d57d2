"""`automix bench`: all policies on the same held-out rows, with intervals and a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from automix_cli.api import CallOptions
from automix_cli.commands import options as o
from automix_cli.commands.bench_folder import ResultFolder, take_runs
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.commands.datasets import dry_run as show_cost
from automix_cli.data.destination import Destination
from automix_cli.data.labelled import DataFile, TableOptions, read_data
from automix_cli.errors import UsageError
from automix_cli.fitting.query_router_kinds import PriorChoice
from automix_cli.library.comparison import BenchJob, bench_objective, reads_samples
from automix_cli.library.gating import Gating
from automix_cli.library.trace_source import FREE_NOTE, TraceSource, is_free
from automix_cli.views.terminal import Reporter, print_json, print_parts, print_text, stdout_console

if TYPE_CHECKING:
    from automix_cli.evaluation.play import Runs
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
        judge_samples=reads_samples(policies),
    )
    gates = Gating.read(fail_under, against, needs_proof=require_proof, summary=summary_file)
    job = BenchJob(
        policies=policies,
        query_router=query_router,
        class_column=class_column,
        signal=signal,
        split=split,
        repeat=repeat,
        seed=seed,
        folds=folds,
        objective=bench_objective(keep, sure, budget),
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
        gates.check_policies(job.check_tiers(source.profile()))
        gates.check_questions(source.group_questions)
    if dry_run:
        raise typer.Exit(show_cost(source, json, objective=job.objective))
    with source.spending():
        view = _run(job, gates, source, folder, runs, lambda view: _show(view, json, plot))
        gates.check(view, job.reporter.say)


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


def _show(view: BenchView, as_json: bool, plot: bool) -> None:
    if as_json:
        from automix_cli.views.bench_files import summary

        print_json(summary(view))
        return
    from automix_cli.views.bench_tables import bench_parts

    console = stdout_console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge, and tiers have long names
    print_parts(console, bench_parts(view, console.width))
    if plot:
        from automix_cli.views.terminal_plot import terminal_plot

        print_text("\n" + terminal_plot(view, console.width))


def _config(data: DataFile, options: TableOptions, profile: str) -> dict[str, Any]:
    """What was read, and how."""
    keys = ("tiers", "costs", "vote_costs", "drop_incomplete", "group", "class_column", "signal")
    read = {"columns": data.columns and data.columns.text, **{key: getattr(options, key) for key in keys}}
    return {"data": data.name, "data_sha256": data.sha256, "profile": profile, **read}


# ---------------------------------------------------------------- the run


def _run(
    job: BenchJob,
    gates: Gating,
    source: TraceSource,
    folder: ResultFolder | None,
    runs: Runs | None,
    show: Callable[[BenchView], None],
) -> BenchView:
    """Read the rows, compare, write and show."""
    from automix_cli.profile.router import settings_of

    if not source.is_recorded and not settings_of(source.profile()).value_of_time:
        source.note_free()
    profile, table, _ = source.read()
    settings = settings_of(profile)
    if is_free(table) and not settings.value_of_time:
        job.reporter.once(FREE_NOTE)
    runs = runs or ("all" if len(table) <= ALL_RUNS_ROWS else "chosen")
    runs = runs if folder is not None else "none"
    take = gates.take(take_runs(folder, runs))
    view = gates.compare(job.compare(table, settings, source.data, gates.least_runs(runs), take))
    config = {**job.config(), **gates.config(), **_config(source.data, source.options, profile.name)}
    try:
        if folder is not None:  # first: whoever reads stdout may go away
            folder.write(view, settings, config)
    finally:
        show(view)
    if folder is not None:
        job.reporter.say(f"written: {', '.join(folder.names)} in {folder.path}")
    return view
