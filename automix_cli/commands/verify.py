"""`automix verify`: check answers that exist already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.commands import options as o
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.commands.rows import RowRun, check_destination, destination_of, pick_rows
from automix_cli.errors import GateError, UsageError
from automix_cli.pomdp.signals import Signal
from automix_cli.records import VERIFY_SCHEMA
from automix_cli.texts import count_of
from automix_cli.views.stops import error_of_row
from automix_cli.views.terminal import Reporter, show_plan

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.checks import Check
    from automix_cli.cascade.jobs import VerifyJob
    from automix_cli.cascade.verification import Verification
    from automix_cli.data.destination import Destination
    from automix_cli.data.sources import Rows
    from automix_cli.profile.model import Profile, Tier


app = command_app()


@app.command("verify", cls=ModelCommand)
def verify(
    ctx: typer.Context,
    question: Annotated[str | None, typer.Option("--question", metavar="TEXT", help="The question.")] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="TEXT", help="The answer to check.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option("--context", "-c", metavar="FILE", help="What the answer must rest on.")
    ] = None,
    input_file: o.Input = None,
    output: o.Output = None,
    columns: o.ColumnMap = None,
    tier: Annotated[
        str | None,
        typer.Option(
            "--tier",
            metavar="NAME",
            help="The tier that checks (else the row's own, else the cheapest).",
            autocompletion=o.complete_tier,
        ),
    ] = None,
    votes: Annotated[
        int | None, typer.Option("--votes", min=1, max=64, metavar="N", help="Votes to buy.")
    ] = None,
    signal: Annotated[
        Signal | None,
        typer.Option("--signal", help="Where confidence comes from."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            min=0.0,
            max=1.0,
            metavar="P",
            help="Least confidence of a correct answer.",
            callback=o.finite,
        ),
    ] = 0.5,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 5 when an answer is below the threshold, or none came in.")
    ] = False,
    profile: o.ProfileName = None,
    tiers: o.Tiers = None,
    json: o.AsJson = False,
    explain: Annotated[bool, typer.Option("--explain", help="Give the verifier's reasons.")] = False,
    dry_run: o.DryRun = False,
    limit: o.Limit = None,
    force: o.Force = False,
    resume: o.Resume = False,
    concurrency: o.Concurrency = None,
    max_cost: o.MaxCost = None,
    no_cache: o.NoCache = False,
    refresh: o.Refresh = False,
    offline: o.Offline = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Check an answer: how likely is it right, and why.

    Without --question, rows with "question" and "answer" are read from stdin or -i FILE (JSONL,
    JSON, CSV, TSV, Parquet); rows that `automix ask` wrote are valid. One row per row is written, in input
    order, with its question and answer.

    \b
    Examples:
      automix verify --profile demo --question "What is 17 * 23?" --answer 391
      automix ask < questions.jsonl | automix verify > verified.jsonl
      automix verify -i answers.jsonl --dry-run
      automix verify -i answers.jsonl -o verified.jsonl --max-cost 5 --resume
      automix verify -i answers.jsonl --check --threshold 0.8
    """  # noqa: D301
    from automix_cli.cascade.cap_notes import check_notes
    from automix_cli.cascade.checks import check_signal_of_answers
    from automix_cli.cascade.jobs import VerifyJob

    reporter = Reporter(quiet=quiet, verbose=verbose)
    calls = CallOptions(
        profile=profile,
        tiers=tiers,
        no_cache=no_cache,
        refresh=refresh,
        offline=offline,
        concurrency=concurrency,
        max_cost=max_cost,
    )
    if question is not None and input_file is not None:
        raise UsageError("--question and -i exclude each other")
    if question is not None and columns is not None:
        raise UsageError("--columns goes with rows; this is one answer")
    if question is not None and limit is not None:
        raise UsageError("--limit picks from rows; this is one answer")
    rows = (
        None
        if question is not None
        else _rows(ctx, answer, context, input_file, output, limit, columns, reporter)
    )
    active_profile = _with_signal(choose_profile(calls), signal)
    check_signal_of_answers(active_profile)
    checker = active_profile.tier(tier) if tier is not None else active_profile.tiers[0]
    source = rows or _single(question or "", answer, context, checker, reporter)
    most = votes or active_profile.verification.max_votes or 1
    if dry_run:
        check_destination(source, output, force=force, resume=resume)
        raise typer.Exit(_dry_run(active_profile, source, tier, most, as_json=json))
    destination = destination_of(
        rows,
        output,
        schema=VERIFY_SCHEMA,
        profile_sha=active_profile.sha,
        force=force,
        resume=resume,
    )
    for line in check_notes(active_profile, [checker] if tier or not rows else active_profile.tiers, most):
        reporter.once(line)
    command = _Verify(
        *(destination, reporter), json=json, explain=explain, check=check, is_cached=not no_cache
    )

    async def run(cascade: Cascade) -> int:
        job = VerifyJob(
            cascade, destination.earlier, tier=tier, votes=most, threshold=threshold, reasons=explain
        )
        return await command.run(job, source, threshold)

    raise typer.Exit(Runtime(active_profile, calls, note=reporter.once, detail=reporter.detail).run(run))


def _single(question: str, answer: str | None, context: Path | None, tier: Tier, reporter: Reporter) -> Check:
    from automix_cli.cascade.checks import Check
    from automix_cli.data.sources import question_of, read_context

    if answer is None:
        raise UsageError("--question needs --answer")
    text = None if context is None else read_context(context, ignore_stdin=True, say=reporter.say)
    return Check(question_of(question, text), answer, tier)


def _rows(
    ctx: typer.Context,
    answer: str | None,
    context: Path | None,
    input_file: Path | None,
    output: Path | None,
    limit: int | None,
    columns: str | None,
    reporter: Reporter,
) -> Rows:
    from automix_cli.data.sources import read_rows

    if answer is not None or context is not None:
        raise UsageError("--answer and --context go with --question")
    rows = read_rows(input_file, columns=columns, say=reporter.say)
    if rows is None:
        o.show_help(ctx, "no answer was given")
    return pick_rows(rows, output=output, limit=limit)


def _dry_run(profile: Profile, source: Check | Rows, tier: str | None, votes: int, *, as_json: bool) -> int:
    """Say what it would cost: stdout carries the estimate, nothing is sent."""
    from automix_cli.backends.store_folder import cache_folder
    from automix_cli.cascade.check_estimate import plan_verifications
    from automix_cli.cascade.checks import Check, checks_of
    from automix_cli.cascade.lengths import cached_lengths
    from automix_cli.data.jsonl import BadRows

    bad = BadRows("" if isinstance(source, Check) else source.name)
    checks = [source] if isinstance(source, Check) else checks_of(source.all(), profile, tier, bad.add)
    every = list(checks)
    lengths = cached_lengths(profile, [check.question for check in every], cache_folder(os.environ))
    plan = plan_verifications(profile, every, votes, lengths)
    show_plan({**plan, **bad.to_dict()}, as_json, profile=profile)
    return 0


def _with_signal(profile: Profile, signal: Any) -> Profile:
    """The profile with another signal; what was fitted to the old one no longer holds."""
    if signal is None or signal == profile.verification.signal:
        return profile
    verification = replace(profile.verification, signal=signal, logprob_of="verdict")
    return replace(profile, verification=verification, router=None)


# ---------------------------------------------------------------- run and show


class _Verify(Struct, frozen=True):
    """One invocation: where its rows go, what is shown of them, and whether they must pass."""

    destination: Destination
    reporter: Reporter
    json: bool
    explain: bool
    check: bool
    is_cached: bool = True

    async def run(self, job: VerifyJob, source: Check | Rows, threshold: float) -> int:
        """Check one answer, or many; returns the exit code.

        Raises:
            GateError: under --check, an answer is below the threshold, or none came in.
        """
        from automix_cli.cascade.checks import Check

        if isinstance(source, Check):
            code = self._show(job, await job.verify(source))
        else:
            code = await self._run_rows(job, source)
        if self.check and code < 128:
            _gate(job, threshold)
        return code

    def _show(self, job: VerifyJob, row: Verification) -> int:
        """Write one verification for a person, or as a row."""
        from automix_cli.data.output import RowWriter
        from automix_cli.views import lines

        job.count(row)
        failure = None if row.error is None else error_of_row(row.error, row.spent_usd, f"{row.tier}: ")
        if failure is not None and not self.json:
            raise failure
        with self.destination.open() as out:
            writer = RowWriter(out, self.destination.name)
            if self.json:
                writer.write(job.to_dict(row))
            else:
                writer.write_line(f"{lines.verification_line(row)}\n".encode())
        if self.explain and not self.json:
            for line in lines.reasons_lines(row):
                self.reporter.say(line)
        elif line := lines.unread_votes_note(row):
            self.reporter.say(line)
        bill = f"cost {lines.money(row.cost_usd)}, spent {lines.money(row.spent_usd)}"
        self.reporter.say(f"{row.tier} · {bill} · {count_of(row.usage.calls, 'call')}")
        return 0 if failure is None else failure.exit_code

    async def _run_rows(self, job: VerifyJob, rows: Rows) -> int:
        """Check the answers of rows."""
        from automix_cli.views import lines

        run = RowRun(
            rows,
            self.destination,
            self.reporter,
            job.tally,
            note=lambda seconds: lines.check_note(job.tally, seconds),
            summary=lambda seconds, _: lines.check_summary(job.tally, seconds),
            is_cached=self.is_cached,
        )
        return run.exit_code(await run.run(job))


def _gate(job: VerifyJob, threshold: float) -> None:
    """Exit 5 where an answer is below the threshold, or none came in.

    Raises:
        GateError: it is so.
    """
    below = job.tally.below
    if not (job.tally.rows or job.tally.earlier_rows):
        raise GateError("no answer came in, so none was checked")
    if below:
        answers = "1 answer is" if below == 1 else f"{below:,} answers are"
        raise GateError(f"{answers} below the threshold of {threshold:g}")
