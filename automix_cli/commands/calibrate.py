"""`automix calibrate`: learn the router from labelled rows, with held-out proof of what it is worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from automix_cli.api import CallOptions
from automix_cli.commands import options as o
from automix_cli.commands.datasets import TraceSource, check_embed_model
from automix_cli.data.labelled import DataFile, TableOptions, read_data
from automix_cli.errors import GateError, UsageError
from automix_cli.fitting.query_router_kinds import ClassChoice
from automix_cli.views.terminal import Reporter, print_json, stdout_console

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable
    from automix_cli.evaluation.calibrate import Calibration
    from automix_cli.evaluation.objective import Objective
    from automix_cli.fitting.classes import Classes
    from automix_cli.fitting.router_block import Settings
    from automix_cli.profile.model import Profile


def calibrate(
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED", help="Questions with answers, or traces.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Profile whose router: block is written.",
            callback=o.not_stdout,
        ),
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
    embed_model: o.EmbedModel = None,
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--labels-from", metavar="TIER", help="Without labels: agreement with this tier's answers."
        ),
    ] = None,
    baseline: o.BaselineTier = None,
    traces: o.Traces = None,
    columns: o.ColumnMap = None,
    tiers: o.PickTiers = None,
    costs: o.Costs = None,
    vote_costs: o.VoteCosts = None,
    drop_incomplete: o.DropIncomplete = False,
    group: o.GroupColumn = None,
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
      automix calibrate profiles/demo-questions.jsonl --profile demo -o automix.yaml
      automix calibrate labelled.jsonl --keep 0.97 --traces traces.jsonl --dry-run
      automix calibrate traces.jsonl --tiers small,large --costs small=1,large=20
    """  # noqa: D301
    from automix_cli.evaluation.calibrate import calibrate as run_calibration
    from automix_cli.evaluation.crossfit import Crossfit
    from automix_cli.profile.router import settings_of
    from automix_cli.profile.write import write_router
    from automix_cli.views.calibration_view import CalibrationView
    from automix_cli.views.lines import count_of

    reporter = Reporter(quiet=quiet, verbose=verbose)
    calls = CallOptions(
        profile=profile,
        no_cache=no_cache,
        refresh=refresh,
        offline=offline,
        concurrency=concurrency,
        max_cost=max_cost,
    )
    target_objective = _objective(keep, sure, budget, cost_weight, objective, certify)
    _check_router(query_router, certify)
    if embed_model is not None:
        check_embed_model(embed_model, "--query-router auto does" if query_router == "none" else "")
    options = TableOptions(
        columns=columns,
        tiers=tiers,
        costs=costs,
        vote_costs=vote_costs,
        drop_incomplete=drop_incomplete,
        group=group,
    )
    data = read_data(labelled)
    job = TraceSource(
        data=data,
        options=options,
        calls=calls,
        reporter=reporter,
        traces=traces,
        labels_from=labels_from,
        force=force,
        embed_model=embed_model,
    )
    if certify is not None and not job.is_recorded:
        _check_certificate(len(data.grouping(group)), target_objective.value, certify)
    if dry_run:
        raise typer.Exit(job.dry_run(json))
    if not job.is_recorded:  # before anything is paid for
        live = job.profile()
        o.check_baseline(baseline, [tier.name for tier in live.tiers])
        _target(output, live, [tier.name for tier in live.tiers])
    profile_in_use, table, scale = job.read()
    o.check_baseline(baseline, table.tiers)
    target = _target(output, profile_in_use, table.tiers)
    settings = replace(settings_of(profile_in_use), value_of_time=value_of_time)
    reporter.say(f"fitting on {count_of(len(table), 'row')}, and measuring on rows held out …")
    classes = _classes(query_router, table, target, profile_in_use, seed)
    calibration = run_calibration(
        table, settings, target_objective, options=Crossfit(folds=folds), seed=seed, classes=classes
    )
    view = CalibrationView(calibration, table, labels_from, data.name, baseline)
    if json:
        print_json(view.to_dict())
    else:
        console = stdout_console()
        for part in view.parts(console.width):
            console.print(part, soft_wrap=isinstance(part, str))
    router = calibration.router()
    if certify is not None:
        router = _certify_router(table, settings, target_objective.value, certify, seed, router, reporter)
    if target is not None:
        extra = {"token_scale": scale, "value_of_time": value_of_time or None}
        block = _with_origin(router, data, profile_in_use, labels_from, extra)
        write_router(target, block, profile=profile_in_use)
        reporter.say(f"written: router of {target}")
        reporter.say(f'use it: automix ask{_use(target)} "…"')
    elif not json:
        reporter.say(_why_not_written(profile_in_use, table.tiers))
    raise typer.Exit(_exit_code(calibration, reporter))


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


# ---------------------------------------------------------------- the profile


def _target(output: Path | None, profile: Profile, tiers: Sequence[str]) -> Path | None:
    """The file to write: as asked, else the profile's own, else automix.yaml; None where none fits.

    Raises:
        UsageError: a file is asked for, but the profile's tiers are not those of the rows.
        ProfileError: the file cannot take the router.
    """
    from automix_cli.profile.write import room_for_router

    if [t.name for t in profile.tiers] != list(tiers):
        if output is not None:
            hint = "name the tiers of the profile alike" if profile.tiers else "--profile NAME|FILE has them"
            raise UsageError(_why_not_written(profile, tiers), hint=hint)
        return None
    own = None if profile.origin == "bundled" else profile.path
    target = output or own or Path("automix.yaml")
    room_for_router(target, profile)
    return target


def _why_not_written(profile: Profile, tiers: Sequence[str]) -> str:
    mine = ", ".join(t.name for t in profile.tiers)
    theirs = f"the profile's {mine}" if mine else "and no profile was given or found"
    return f"no router written: the rows' tiers are {', '.join(tiers)}, {theirs}"


def _classes(
    choice: ClassChoice, table: TraceTable, target: Path | None, profile: Profile, seed: int
) -> Classes:
    """The query-side routers to try, each small enough for the profile that is written."""
    from automix_cli.fitting.classes import NO_CLASSES, classes_for
    from automix_cli.profile.write import room_for_router
    from automix_cli.profile.yamltree import MAX_BYTES

    if choice == "none":
        return NO_CLASSES
    room = MAX_BYTES if target is None else room_for_router(target, profile)
    return classes_for(choice, table, room=room, pass_score=profile.task.pass_score, seed=seed)


def _use(target: Path) -> str:
    """The option with which `ask` finds the file; none where it finds it by itself."""
    return "" if target == Path("automix.yaml") else f" --profile {target}"


_USUAL_KEEPS = (0.99, 0.98, 0.97, 0.95, 0.9, 0.8)


def _check_certificate(questions: int, keep: float, confidence: float) -> None:
    """Refuse a promise that so many questions cannot prove, before anything is spent on it.

    What is refused cannot be proved without luck: only a policy that is better than the best tier
    could. To keep all of its quality or more takes such a policy, and no number of questions.

    Raises:
        GateError: naming how many questions it takes, and a share of quality that these may prove.
    """
    from automix_cli.evaluation.certificate import questions_needed

    if keep >= 1:
        return
    fewest = questions_needed(keep, confidence)
    if questions >= fewest:
        return
    least = {share: questions_needed(share, confidence) for share in _USUAL_KEEPS if share < keep}
    smaller = next((f"; --keep {share:g} takes {n:,}" for share, n in least.items() if n <= questions), "")
    raise GateError(
        f"{questions:,} questions cannot certify --keep {keep:g} with probability {100 * confidence:g} %, "
        f"even if routing always answered as well as the best tier: at least {fewest:,} are needed",
        hint=f"nothing was sent; label more questions{smaller}",
    )


def _certify_router(
    table: TraceTable,
    settings: Settings,
    keep: float,
    confidence: float,
    seed: int,
    router: dict[str, Any],
    reporter: Reporter,
) -> dict[str, Any]:
    """The router that the promise was proved for, with the parameters it was proved with.

    Raises:
        GateError: no policy but the best single tier can be promised.
    """
    from automix_cli.evaluation.certificate import certify

    proof = certify(table, settings, keep=keep, confidence=confidence, seed=seed)
    promise = f"{100 * keep:g} % of the quality of {proof.best} with probability {100 * confidence:g} %"
    if proof.labels is not None:
        raise GateError(
            f"no routed policy can be promised to keep {promise} on {table.n_groups:,} labelled questions",
            hint=f"about {proof.labels:,} labels would likely do; nothing was written",
        )
    reporter.say(f"certified on {proof.questions:,} questions set apart: keeps {promise}")
    certificate = {"keep": keep, "confidence": confidence, "best": proof.best, "questions": proof.questions}
    return {
        "kind": "pomdp",
        **proof.setting.to_dict(),
        **proof.fitted.to_dict(),
        "fitted": {**router["fitted"], "certificate": certificate},
    }


def _with_origin(
    router: dict[str, Any], data: DataFile, profile: Profile, labels_from: str | None, extra: dict[str, Any]
) -> dict[str, Any]:
    """The `router:` block: what was learned, and everything it was learned from."""
    from automix_cli import __version__
    from automix_cli.profile.router import fingerprint

    prices = {t.name: asdict(p) if (p := t.list_price()) else None for t in profile.tiers}
    origin = {
        "automix": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "data_sha256": data.sha256,
        **fingerprint(profile),
        "prices": prices,
        **({} if labels_from is None else {"labels_from": labels_from}),
    }
    present = {key: value for key, value in extra.items() if value is not None}
    return {**router, **present, "fitted": {**router["fitted"], **origin}}


def _exit_code(calibration: Calibration, reporter: Reporter) -> int:
    """5 when the objective was not met in training, else 0: "do not route" is a success of the tool."""
    if calibration.choice.is_met:
        return 0
    raise GateError(
        "no setting meets the objective on these rows", hint="ask for less, or add a tier that is better"
    )
