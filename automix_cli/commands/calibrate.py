"""`automix calibrate`: learn the router from labelled rows, with held-out proof of what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from automix_cli.api import CallOptions
from automix_cli.commands import options as o
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.commands.datasets import dry_run as show_cost
from automix_cli.data.labelled import TableOptions, read_data
from automix_cli.fitting.query_router_kinds import ClassChoice, WrittenKind
from automix_cli.library.calibration import CalibrationJob, objective_of, router_to_fit
from automix_cli.library.trace_source import TraceSource
from automix_cli.views.terminal import Reporter, print_json, print_parts, stdout_console

if TYPE_CHECKING:
    from automix_cli.views.calibration_view import CalibrationView


app = command_app()


@app.command("calibrate", cls=ModelCommand, no_args_is_help=True)
def calibrate(
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED", help="Questions with answers, or traces.")],
    output: Annotated[
        Path | None,
        o.output_file("Profile whose router: block is written."),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            "--keep",
            min=0.0,
            max=2.0,
            metavar="Q",
            help="Cheapest with Q times the best tier's quality.",
            callback=o.finite,
        ),
    ] = None,
    sure: o.Sure = 0.8,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", min=0.0, metavar="USD", help="Best for USD per 1,000 questions.", callback=o.finite
        ),
    ] = None,
    cost_weight: Annotated[
        float | None,
        typer.Option(
            "--cost-weight",
            min=0.0,
            metavar="X",
            help="Quality given up per dollar.",
            callback=o.finite,
        ),
    ] = None,
    objective: Annotated[
        Literal["keep", "ibc"], typer.Option("--objective", help="ibc: best incremental benefit per cost.")
    ] = "keep",
    certify: Annotated[
        float | None,
        typer.Option(
            "--certify",
            min=0.5,
            max=0.999,
            metavar="P",
            help="Promise --keep with probability P.",
            callback=o.finite,
        ),
    ] = None,
    query_router: Annotated[
        ClassChoice,
        typer.Option("--query-router", help="Look at the question before asking; auto: if it pays."),
    ] = "none",
    kind: Annotated[
        WrittenKind,
        typer.Option("--kind", help="pomdp looks at answers, the others at the question alone."),
    ] = "pomdp",
    embed_model: o.EmbedModel = None,
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--labels-from", metavar="TIER", help="Without labels: agreement with this tier's answers."
        ),
    ] = None,
    baseline: o.BaselineTier = None,
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
    value_of_time: Annotated[
        float,
        typer.Option(
            "--value-of-time",
            min=0.0,
            metavar="USD",
            help="What an hour of waiting is worth.",
            callback=o.finite,
        ),
    ] = 0.0,
    folds: Annotated[int, typer.Option("--folds", min=3, max=20, metavar="N", help="Folds held out.")] = 5,
    seed: o.Seed = 0,
    profile: o.ProfileName = None,
    dry_run: o.DryRun = False,
    max_cost: o.MaxCost = None,
    concurrency: o.Concurrency = None,
    force: o.ForceRouter = False,
    no_cache: o.NoCache = False,
    refresh: o.Refresh = False,
    offline: o.Offline = False,
    json: o.AsJson = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Learn when to escalate from your own labelled rows, and prove what it saves.

    Questions with "expected" are asked of every tier (cached; the cost is said first);
    rows that carry "tiers" are traces and need no calls. The router: block of the profile is
    written, everything else in it stays as it is. Where routing does not pay, it says so.

    \b
    Examples:
      automix calibrate labelled.jsonl --profile demo -o automix.yaml
      automix calibrate labelled.jsonl --keep 0.97 --traces traces.jsonl --dry-run
      automix calibrate traces.jsonl --tiers small,large --costs small=1,large=20
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
    )
    job = CalibrationJob(
        objective=objective_of(keep, sure, budget, cost_weight, objective, certify),
        certify=certify,
        query_router=router_to_fit(query_router, kind),
        kind=kind,
        class_column=class_column,
        signal=signal,
        embed_model=embed_model,
        baseline=baseline,
        value_of_time=value_of_time,
        folds=folds,
        seed=seed,
        output=output,
        writes=True,
        tells_ways=not json,
        reporter=Reporter(quiet=quiet, verbose=verbose),
        force=force,
    )
    job.check()
    source = TraceSource(
        data=read_data(labelled, columns, job.reporter.say),
        options=options,
        calls=calls,
        reporter=job.reporter,
        traces=traces,
        labels_from=labels_from,
        labels=labels,
        baseline=baseline,
        force=force,
        embed_model=embed_model,
    )
    job.check_certificate(source)
    job.check_live(source)
    if dry_run:
        raise typer.Exit(show_cost(source, json, note_free=not value_of_time, objective=job.objective))
    with source.spending():
        job.run(source, lambda view: _show(view, json))


def _show(view: CalibrationView, as_json: bool) -> None:
    if as_json:
        print_json(view.to_dict())
        return
    console = stdout_console()
    print_parts(console, view.parts(console.width))
