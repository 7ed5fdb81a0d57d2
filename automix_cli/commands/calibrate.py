"""`automix calibrate`: learn the router from labelled rows, with held-out proof of what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from automix_cli.api import CallOptions
from automix_cli.commands import options as o
from automix_cli.commands.calibrate_files import (
    router_file,
    router_file_or_refusal,
    use_option,
    ways_to_names,
    why_not_written,
    with_origin,
    written_words,
)
from automix_cli.commands.certificate_errors import check_certificate, no_certificate
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.commands.datasets import FREE_NOTE, Labelled, TraceSource, check_embed_model, is_free
from automix_cli.data.labelled import DataFile, TableOptions, read_data
from automix_cli.errors import GateError, UsageError
from automix_cli.fitting.query_router_kinds import ClassChoice, WrittenKind
from automix_cli.texts import count_of
from automix_cli.views.terminal import Reporter, print_json, share_progress, stdout_console

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable
    from automix_cli.evaluation.calibrate import Calibration
    from automix_cli.evaluation.objective import Objective
    from automix_cli.fitting.classes import Classes
    from automix_cli.profile.model import Profile


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
    force: o.Force = False,
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
    job = _CalibrationJob(
        objective=_objective(keep, sure, budget, cost_weight, objective, certify),
        certify=certify,
        query_router=_source(query_router, kind),
        kind=kind,
        class_column=class_column,
        signal=signal,
        embed_model=embed_model,
        baseline=baseline,
        value_of_time=value_of_time,
        folds=folds,
        seed=seed,
        output=output,
        json=json,
        reporter=Reporter(quiet=quiet, verbose=verbose),
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
        raise typer.Exit(source.dry_run(json, note_free=not value_of_time))
    with source.spending():
        job.run(source)


# ---------------------------------------------------------------- the run


@dataclass(frozen=True, slots=True, kw_only=True)
class _CalibrationJob:
    """What is wanted of a calibration, and where it goes."""

    objective: Objective
    certify: float | None
    query_router: ClassChoice
    class_column: str | None
    signal: str | None
    kind: WrittenKind
    embed_model: str | None
    baseline: str | None
    value_of_time: float
    folds: int
    seed: int
    output: Path | None
    json: bool
    reporter: Reporter

    def check(self) -> None:
        """Refuse options that cannot work, before anything is read."""
        _check_router(self.query_router, self.certify)
        _check_class_column(self.class_column, self.certify)
        if self.signal == "auto" and self.certify is not None:
            raise UsageError("--certify promises a plan with one signal: name it with --signal")
        if self.embed_model is not None:
            readers = "--query-router auto does" if self.query_router == "none" else ""
            check_embed_model(self.embed_model, readers)

    def check_certificate(self, source: TraceSource) -> None:
        """Refuse a promise that the questions cannot prove, before any is asked."""
        if self.certify is not None and not source.is_recorded:
            grouping = source.data.grouping(source.options.group)
            check_certificate(grouping, self.objective.value, self.certify)

    def check_live(self, source: TraceSource) -> None:
        """Refuse tiers and files that cannot work, before anything is paid for."""
        source.check_traces()
        if not source.is_recorded:
            live = source.profile()
            o.check_baseline(self.baseline, [tier.name for tier in live.tiers])
            router_file(self.output, live, [tier.name for tier in live.tiers])

    def run(self, source: TraceSource) -> None:
        """Fit, measure, show and write.

        Raises:
            GateError: no router could be certified, or the objective was not met.
        """
        from automix_cli.data.near_copies import join_near_copies
        from automix_cli.data.recorded_signals import with_recorded
        from automix_cli.profile.router import check_signal

        labelled = source.read()
        profile, table, _ = labelled
        if is_free(table) and not self.value_of_time:
            self.reporter.say(FREE_NOTE)
        if self.query_router != "none":
            table = join_near_copies(table)
        o.check_baseline(self.baseline, table.tiers)
        o.check_keep(self.objective.value if self.objective.kind == "keep" else None, table.beside)
        target, refusal = router_file_or_refusal(self.output, profile, table.tiers)
        result = self._calibrate(table, target, profile)
        if result.signal is not None:
            table = with_recorded(table, result.signal.name)
        self._show(result, table, source.data.name)
        if refusal is not None:
            raise refusal
        if result.certificate is not None and not result.is_certified:
            raise no_certificate(result.certificate, table.grouping)
        if target is not None:
            if result.router()["kind"] != "always":
                check_signal(profile, table.signal_name)
            self._write(result, target, source.data, labelled)
        elif not self.json:
            self.reporter.say(why_not_written(profile, table.tiers))
            for line in ways_to_names(profile, table.tiers).splitlines():
                self.reporter.say(f"  {line}")
        if not result.choice.is_met:
            raise GateError(
                "no setting meets the objective on these rows",
                hint="ask for less, or add a tier that is better",
            )

    def _calibrate(self, table: TraceTable, target: Path | None, profile: Profile) -> Calibration:
        """Fit and measure; with `--certify`, what is measured is what can be promised."""
        from automix_cli.evaluation.calibrate import calibrate as run_calibration
        from automix_cli.evaluation.certificate import certify
        from automix_cli.evaluation.certified import with_certificate
        from automix_cli.evaluation.crossfit import Crossfit
        from automix_cli.profile.router import settings_of

        settings = replace(settings_of(profile), value_of_time=self.value_of_time)
        options = Crossfit(folds=self.folds)
        measuring = ", and measuring on rows held out" if options.enough(table.n_groups) else ""
        self.reporter.say(f"fitting on {count_of(len(table), 'row')}{measuring} …")
        classes = _classes(self.query_router, table, target, profile, self.seed)
        with share_progress(self.reporter, "fitting") as advance:
            result = run_calibration(
                table,
                settings,
                self.objective,
                options=options,
                seed=self.seed,
                classes=classes,
                compare_signals=self.signal == "auto" and self.kind == "pomdp",
                kind=self.kind,
                advance=advance,
            )
        if self.certify is None:
            return result
        proof = certify(table, settings, keep=self.objective.value, confidence=self.certify, seed=self.seed)
        return with_certificate(result, table, proof, self.seed)

    def _show(self, result: Calibration, table: TraceTable, name: str) -> None:
        from automix_cli.views.calibration_view import CalibrationView

        view = CalibrationView(result, table, name, self.baseline or table.beside)
        if self.json:
            print_json(view.to_dict())
            return
        console = stdout_console()
        for part in view.parts(console.width):
            console.print(part, soft_wrap=isinstance(part, str))

    def _write(self, result: Calibration, target: Path, data: DataFile, labelled: Labelled) -> None:
        from automix_cli.profile.write import write_router

        extra = {"token_scale": labelled.token_scale, "value_of_time": self.value_of_time or None}
        options = {"labels_from": labelled.table.beside, "baseline": self.baseline}
        block = with_origin(result.router(), data, labelled.profile, options, extra)
        write_router(target, block, profile=labelled.profile)
        self.reporter.say(f"written: {written_words(result, target)}")
        self.reporter.say(f'use it: automix ask{use_option(target, labelled.profile)} "…"')


def _objective(
    keep: float | None,
    sure: float,
    budget: float | None,
    cost_weight: float | None,
    objective: str,
    certify: float | None,
) -> Objective:
    """The one objective that the options name.

    Raises:
        UsageError: when they name several.
    """
    from automix_cli.evaluation.objective import Objective

    objectives = [
        Objective("keep", keep, sure) if keep is not None else None,
        Objective("budget", budget / 1000) if budget is not None else None,
        Objective("cost_weight", cost_weight) if cost_weight is not None else None,
        Objective("ibc", 0.0) if objective == "ibc" else None,
    ]
    given_objectives = [o for o in objectives if o is not None]
    if len(given_objectives) > 1:
        raise UsageError("--keep, --budget, --cost-weight and --objective ibc exclude each other")
    if certify is not None and given_objectives and given_objectives[0].kind != "keep":
        raise UsageError("--certify promises a --keep; it goes with no other objective")
    return given_objectives[0] if given_objectives else Objective(sure=sure)


def _source(query_router: ClassChoice, kind: WrittenKind) -> ClassChoice:
    """The query-side router to fit: as asked, else the one that is written.

    Raises:
        UsageError: both are named, and differ.
    """
    if kind == "pomdp" or query_router in (kind, "none"):
        return query_router if kind == "pomdp" else kind
    raise UsageError(f"--kind {kind} writes that router alone; leave out --query-router {query_router}")


def _check_router(query_router: str, certify: float | None) -> None:
    """Refuse a query-side router that cannot be fitted, before anything is spent.

    Raises:
        UsageError: scikit-learn is missing, or a certificate is wanted, which looks at no question.
    """
    from automix_cli.fitting.fit_query_router import require_sklearn

    if query_router == "none":
        return
    if certify is not None:
        raise UsageError("--certify promises a router that looks at no question; leave out --query-router")
    require_sklearn()


def _check_class_column(column: str | None, certify: float | None) -> None:
    """Refuse a column of classes that cannot be used, before anything is read.

    Raises:
        UsageError: it holds answers, or a certificate is wanted, which tells no classes apart.
    """
    from automix_cli.data.question_classes import check_class_column

    check_class_column(column)
    if column is not None and certify is not None:
        raise UsageError("--certify promises a router that tells no classes apart; leave out --class-column")


def _classes(
    choice: ClassChoice, table: TraceTable, target: Path | None, profile: Profile, seed: int
) -> Classes:
    """The sources of classes to try, each small enough for the profile that is written."""
    from automix_cli.fitting.classes import NO_CLASSES, classes_for
    from automix_cli.profile.write import room_for_router
    from automix_cli.profile.yamltree import MAX_BYTES

    if choice == "none" and table.class_column is None:
        return NO_CLASSES
    room = MAX_BYTES if target is None else room_for_router(target, profile)
    return classes_for(choice, table, room=room, pass_score=profile.task.pass_score, seed=seed)
