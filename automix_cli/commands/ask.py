"""`automix ask`: one question, a pipe or a JSONL file, through the cascade."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from automix_cli.api import Automix, CallOptions, choose_profile, router_notes
from automix_cli.commands import options as o
from automix_cli.errors import AutomixError, BudgetError, UsageError
from automix_cli.views.terminal import Reporter, row_progress, show_plan, stderr_console

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.jobs import AnswerJob, EarlierRow, Ending
    from automix_cli.data.destination import Destination
    from automix_cli.data.output import EarlierRows
    from automix_cli.data.sources import Rows, Single
    from automix_cli.profile.model import Profile
    from automix_cli.records import Answer


def ask(
    ctx: typer.Context,
    question: Annotated[str | None, typer.Argument(metavar="[QUESTION]", help="One question.")] = None,
    input_file: o.Input = None,
    output: o.Output = None,
    form: Annotated[
        Literal["auto", "jsonl", "text"], typer.Option("--input", help="What the input holds.")
    ] = "auto",
    context: Annotated[
        Path | None, typer.Option("--context", "-c", metavar="FILE", help="Answer from the text in FILE.")
    ] = None,
    ignore_stdin: Annotated[
        bool, typer.Option("--ignore-stdin", help="Do not read context from a pipe.")
    ] = False,
    profile: o.ProfileName = None,
    tiers: o.Tiers = None,
    tier: Annotated[
        str | None,
        typer.Option("--tier", metavar="NAME", help="Ask this tier once: no votes, no escalation."),
    ] = None,
    json: o.AsJson = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show tiers, votes, belief and money.")] = False,
    dry_run: o.DryRun = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, metavar="N", help="Only the first N rows.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=0, metavar="N", help="Only N rows drawn at random.")
    ] = None,
    seed: o.Seed = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the whole file for one bad line.")] = False,
    force: o.Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the finished rows of -o FILE; do the others.")
    ] = False,
    unordered: Annotated[bool, typer.Option("--unordered", help="Write rows as they finish.")] = False,
    concurrency: o.Concurrency = None,
    max_cost: o.MaxCost = None,
    on_budget: o.OnBudget = "stop",
    no_cache: o.NoCache = False,
    refresh: o.Refresh = False,
    offline: o.Offline = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Answer a question with the cheapest tier that can be trusted.

    Without QUESTION, rows are read from stdin or -i FILE (JSONL, one object a line with
    at least "question"), and one row per row is written, in input order.

    \b
    Examples:
      automix ask --profile demo "What is 17 * 23?"
      cat notes.txt | automix ask "What was decided?"
      automix ask < questions.jsonl > answers.jsonl
      automix ask -i questions.jsonl -o answers.jsonl --dry-run
    """  # noqa: D301
    from automix_cli.data.destination import Destination
    from automix_cli.data.sources import find_source

    reporter = Reporter(quiet=quiet, verbose=verbose)
    source = find_source(
        question,
        input_file=input_file,
        context=context,
        form=form,
        ignore_stdin=ignore_stdin,
        say=reporter.say,
    )
    if source is None:
        o.show_help(ctx, "no question was given")
    calls = CallOptions(
        profile=profile,
        tiers=tiers,
        tier=tier,
        no_cache=no_cache,
        refresh=refresh,
        offline=offline,
        concurrency=concurrency,
        max_cost=max_cost,
        on_budget=on_budget,
    )
    source = _pick(source, limit, sample, seed, strict=strict, output=output)
    active_profile = choose_profile(calls)
    if dry_run:
        raise typer.Exit(_dry_run(active_profile, source, json))
    earlier = _earlier(source, active_profile, output, force, unordered) if resume else None
    destination = Destination(path=output, force=force, earlier=earlier)
    if earlier is None:
        destination.check()
    automix = Automix(active_profile, calls, note=reporter.once, detail=reporter.detail)
    for line in router_notes(active_profile):
        reporter.once(line)
    command = _Ask(destination, reporter, json=json, explain=explain, ordered=not unordered)
    raise typer.Exit(automix.run(lambda cascade: command.run(cascade, source)))


def _pick(
    source: Single | Rows,
    limit: int | None,
    sample: int | None,
    seed: int,
    *,
    strict: bool,
    output: Path | None,
) -> Single | Rows:
    """The rows that are wanted, checked as far as they can be before anything is spent.

    Raises:
        UsageError: rows are picked from one question, or would be overwritten.
        DataError: a line is refused.
    """
    from automix_cli.data.destination import check_other_file
    from automix_cli.data.sources import Single

    if isinstance(source, Single):
        if limit is not None or sample is not None:
            raise UsageError("--limit and --sample pick from rows; this is one question")
        return source
    rows = source.pick(limit=limit, sample=sample, seed=seed)
    check_other_file(rows.fd, output)
    rows.check(strict=strict)
    return rows


def _dry_run(profile: Profile, source: Single | Rows, as_json: bool) -> int:
    """Say what it would cost: stdout carries the estimate, nothing is sent."""
    from automix_cli.cascade.estimate import plan_calls
    from automix_cli.data.sources import Single

    if isinstance(source, Single):
        plan = plan_calls(profile, [source.question])
    else:
        plan = plan_calls(profile, (row.question for row in source.all() if row.question is not None))
    show_plan(plan, as_json)
    return 0


def _earlier(
    source: Single | Rows, profile: Profile, output: Path | None, force: bool, unordered: bool
) -> EarlierRows:
    """What an earlier run wrote, opened and locked.

    Raises:
        UsageError: the options do not allow it, or the rows are of another input.
    """
    from automix_cli.data.output import EarlierRows
    from automix_cli.data.sources import Single

    if isinstance(source, Single) or output is None:
        raise UsageError("--resume goes with rows and -o FILE")
    if force:
        raise UsageError("--resume keeps rows and --force drops them: they exclude each other")
    if unordered:
        raise UsageError("--resume writes rows in the order of the input: it excludes --unordered")
    earlier = EarlierRows(output, profile.sha)
    ids = source.all_ids()
    if ids is not None and earlier.ids and ids.isdisjoint(earlier.ids):
        earlier.close()
        raise UsageError(
            f"{output}: holds rows of another input: no id in common",
            hint="another -o, or --force to start anew",
        )
    return earlier


# ---------------------------------------------------------------- run and show


@dataclass(frozen=True, slots=True)
class _Ask:
    """One invocation: where its rows go, and what is shown of them."""

    destination: Destination
    reporter: Reporter
    json: bool
    explain: bool
    ordered: bool

    async def run(self, cascade: Cascade, source: Single | Rows) -> int:
        """Answer one question, or many; returns the exit code."""
        from automix_cli.data.sources import Single

        if isinstance(source, Single):
            return self._show(await cascade.answer(source.question))
        return await self._run_rows(cascade, source)

    def _explain(self, answer: Answer | EarlierRow) -> None:
        from automix_cli.views import lines

        if self.explain and not self.reporter.quiet and not isinstance(answer, dict):
            stderr_console().print(lines.explain_tree(answer))

    # ------------------------------------------------------------ one question

    def _show(self, answer: Answer) -> int:
        """Write one answer; a failed one is an error for people, and a row under --json."""
        from automix_cli.views import lines

        self._explain(answer)
        if answer.error is not None and not self.json:
            kind = BudgetError if answer.status == "skipped" else AutomixError
            raise kind(f"{answer.error.tier or 'no tier'}: {answer.error.message}")
        with self.destination.open() as out:
            self._write(answer, out)
        if not self.explain:
            self.reporter.say(lines.footer(answer))
        return 0 if answer.error is None else 1

    def _write(self, answer: Answer, out: IO[bytes]) -> None:
        """The answer alone, or its row; controls are shown rather than obeyed on a terminal."""
        from automix_cli.data.jsonl import printable
        from automix_cli.data.output import RowWriter

        writer = RowWriter(out, self.destination.name)
        if self.json:
            writer.write(answer.to_dict())
            return
        text = answer.answer or ""
        line = printable(text) if out.isatty() else text
        writer.write_line(f"{line}\n".encode("utf-8", "surrogatepass"))

    # ------------------------------------------------------------ rows

    async def _run_rows(self, cascade: Cascade, rows: Rows) -> int:
        """Answer rows; the summary is shown however the run ends, unless the reader went away."""
        from automix_cli.cascade.jobs import AnswerJob
        from automix_cli.fitting.drift import drifts_from_fit

        job, start = AnswerJob(cascade, self.destination.earlier), time.monotonic()
        try:
            ending = await self._work(job, rows)
        except BrokenPipeError:
            raise
        except BaseException:
            self._conclude(job, start, rows, whole=False)
            raise
        self._conclude(job, start, rows, whole=not (ending.early or job.tally.skipped))
        for drift in drifts_from_fit(cascade.profile.router, job.tally.rates()):
            self.reporter.say(drift.text())
        return ending.exit_code or _exit_code(job, ending)

    async def _work(self, job: AnswerJob, rows: Rows) -> Ending[Answer | EarlierRow]:
        """The run itself, with its bar."""
        from automix_cli.views import lines

        def on_result(result: Answer | EarlierRow) -> None:
            self._explain(result)
            advance()

        with row_progress(
            self.reporter, rows.total, lambda seconds: lines.progress_note(job.tally, seconds)
        ) as advance:
            return await job.run(
                rows, self.destination, say=self.reporter.say, on_result=on_result, ordered=self.ordered
            )

    def _conclude(self, job: AnswerJob, start: float, rows: Rows, *, whole: bool) -> None:
        """Say what became of the rows, and how to go on where some are left."""
        from automix_cli.views import lines
        from automix_cli.views.payer_lines import batch_line

        if job.earlier is not None:
            self.reporter.say(lines.resume_line(job.earlier))
        for line in lines.batch_summary(job.tally, time.monotonic() - start):
            self.reporter.say(line)
        if line := batch_line(job.tally.costs, job.cascade.profile):
            self.reporter.say(line)
        if not whole and not rows.is_pipe and self.destination.path is not None:
            self.reporter.say(f"go on with: {_resume_command()}")


def _exit_code(job: AnswerJob, ending: Ending[Answer | EarlierRow]) -> int:
    """3 where some rows are errors.

    Raises:
        AutomixError: an error ended the run.
        BudgetError: rows were skipped.
    """
    from automix_cli.views import lines

    for stop in ending.stops:
        error = None if isinstance(stop, dict) else stop.error
        if error is not None:
            raise AutomixError(f"stopped: {error.message}", hint="the rows written so far are complete")
    if job.tally.skipped:
        raise BudgetError(
            f"stopped by --max-cost: {lines.count_of(job.tally.skipped, 'row')} skipped",
            hint="run it again with more: what is done is in the cache and costs nothing",
        )
    return 3 if job.tally.errors else 0


def _resume_command() -> str:
    """The command that goes on where this one stopped."""
    import shlex

    words = [a for a in sys.argv[1:] if a != "--force"]
    return shlex.join(["automix", *words, *([] if "--resume" in words else ["--resume"])])
