"""`automix ask`: one question, a pipe or a JSONL file, through the cascade."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from automix_cli.commands import options as o
from automix_cli.commands.session import (
    CallOptions,
    Reporter,
    Show,
    announce_router,
    choose_profile,
    open_cascade,
    require_other,
    require_place,
    run_live,
    run_rows,
    stderr_console,
    written_to,
)
from automix_cli.errors import AutomixError, BudgetError, UsageError

if TYPE_CHECKING:
    from automix_cli.cascade.batch import Tally
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.commands.sources import Rows, Single
    from automix_cli.data.jsonl import Row
    from automix_cli.data.output import Earlier
    from automix_cli.profile.model import Profile
    from automix_cli.records import Answer, Question, RowError


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
    json: o.Json = False,
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
    from automix_cli.commands.sources import Single, find_source, show_help

    reporter = Reporter(quiet=quiet, verbose=verbose)
    source = find_source(
        question,
        input_file=input_file,
        context=context,
        form=form,
        ignore_stdin=ignore_stdin,
        reporter=reporter,
    )
    if source is None:
        show_help(ctx, "no question was given")
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
    show = Show(json=json, explain=explain, output=output, force=force, ordered=not unordered)
    if not isinstance(source, Single):
        source = source.picked(limit=limit, sample=sample, seed=seed)
        require_other(source.fd, output)
        source.check(strict=strict)
    elif limit is not None or sample is not None:
        raise UsageError("--limit and --sample pick from rows; this is one question")
    chosen = choose_profile(calls)
    if dry_run:
        raise typer.Exit(_dry_run(chosen, source, json))
    if resume:
        show = replace(show, earlier=_earlier(source, chosen, show))
    else:
        require_place(show)
    cascade = open_cascade(chosen, calls, reporter)
    announce_router(chosen, reporter)
    if isinstance(source, Single):
        raise typer.Exit(run_live(cascade, lambda c: _ask_one(c, source, show, reporter), reporter))
    rows = source
    raise typer.Exit(run_live(cascade, lambda c: _ask_rows(c, rows, show, reporter), reporter))


# ---------------------------------------------------------------- one question


async def _ask_one(cascade: Cascade, source: Single, show: Show, reporter: Reporter) -> int:
    from automix_cli.views import report

    answer = await cascade.answer(source.question)
    if show.explain and not reporter.quiet:
        stderr_console().print(report.explain_tree(answer))
    if answer.error is not None and not show.json:
        kind = BudgetError if answer.status == "skipped" else AutomixError
        raise kind(f"{answer.error.tier or 'no tier'}: {answer.error.message}")
    with written_to(show) as out:
        _write_answer(answer, show, out)
    if not show.explain:
        reporter.say(report.footer(answer))
    return 0 if answer.error is None else 1


def _write_answer(answer: Answer, show: Show, out: IO[bytes]) -> None:
    """The answer alone, or its row; controls are shown rather than obeyed on a terminal."""
    from automix_cli.data.jsonl import printable
    from automix_cli.data.output import RowWriter

    writer = RowWriter(out, show.name)
    if show.json:
        writer.write(answer.to_dict())
        return
    text = answer.answer or ""
    shown = printable(text) if out.isatty() else text
    writer.put(f"{shown}\n".encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------- rows


def _earlier(source: Single | Rows, profile: Profile, show: Show) -> Earlier:
    """What an earlier run wrote, opened and locked.

    Raises:
        UsageError: the options do not allow it, or the rows are of another input.
    """
    from automix_cli.commands.sources import Single
    from automix_cli.data.output import Earlier

    if isinstance(source, Single) or show.output is None:
        raise UsageError("--resume goes with rows and -o FILE")
    if show.force:
        raise UsageError("--resume keeps rows and --force drops them: they exclude each other")
    if not show.ordered:
        raise UsageError("--resume writes rows in the order of the input: it excludes --unordered")
    earlier = Earlier(show.output, profile.sha)
    known = source.known_ids()
    if known is not None and earlier.ids and known.isdisjoint(earlier.ids):
        earlier.close()
        raise UsageError(
            f"{show.output}: holds rows of another input: no id in common",
            hint="another -o, or --force to start anew",
        )
    return earlier


class Kept(NamedTuple):
    """A row that an earlier run finished."""

    row: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The row as it was."""
        return self.row


def _resume_command() -> str:
    """The command that goes on where this one stopped."""
    import shlex

    given = [a for a in sys.argv[1:] if a != "--force"]
    return shlex.join(["automix", *given, *([] if "--resume" in given else ["--resume"])])


async def _ask_rows(cascade: Cascade, rows: Rows, show: Show, reporter: Reporter) -> int:
    from automix_cli.cascade.batch import Batch, Tally
    from automix_cli.cascade.requests import input_sha
    from automix_cli.views import report

    async def work(row: Row) -> Answer | Kept:
        if row.question is None:
            return fault_row(row)
        done = show.earlier and show.earlier.take(row.question.id, input_sha(row.question))
        if done:
            return Kept(done)
        answer = await answer_row(cascade, row.question)
        if answer.error is not None and answer.error.fatal:  # at once: this row's turn may be long in coming
            fatal.append(answer.error)
            batch.stop()
        return answer

    def seen(answer: Answer | Kept) -> None:
        if isinstance(answer, Kept):
            return
        tally.add(answer)
        if show.explain and not reporter.quiet:
            stderr_console().print(report.explain_tree(answer))

    tally, started = Tally(), time.monotonic()
    fatal: list[RowError] = []
    batch: Batch[Row, Answer | Kept] = Batch(
        work, concurrency=cascade.profile.limits.concurrency, ordered=show.ordered
    )
    quiet = whole = False
    try:
        met = await run_rows(batch, rows, show, reporter, seen, lambda s: report.progress_note(tally, s))
        if show.earlier is not None and not (met or fatal):
            show.earlier.finish()
        whole = not (met or fatal or tally.skipped)
    except BrokenPipeError:
        quiet = True
        raise
    finally:
        if show.earlier is not None:
            show.earlier.close()
        if not quiet:
            _conclude(tally, time.monotonic() - started, rows, show, reporter, whole=whole)
    for line in drift_lines(cascade.profile, tally):
        reporter.say(line)
    if met:
        return 128 + met[0]
    if fatal:
        raise AutomixError(f"stopped: {fatal[0].message}", hint="the rows written so far are complete")
    if tally.skipped:
        raise BudgetError(
            f"stopped by --max-cost: {report.count_of(tally.skipped, 'row')} skipped",
            hint="run it again with more: what is done is in the cache and costs nothing",
        )
    return 3 if tally.errors else 0


def _conclude(
    tally: Tally, seconds: float, rows: Rows, show: Show, reporter: Reporter, *, whole: bool
) -> None:
    """Say what became of the rows, and how to go on where some are still to be done."""
    from automix_cli.views import report

    if show.earlier is not None:
        reporter.say(report.resume_line(show.earlier))
    for line in report.batch_summary(tally, seconds):
        reporter.say(line)
    if not whole and not rows.is_pipe and show.output is not None:
        reporter.say(f"go on with: {_resume_command()}")


def drift_lines(profile: Profile, tally: Tally) -> list[str]:
    """What no longer is as it was when the router was fitted; nothing where nothing was."""
    rates = (profile.router or {}).get("fitted", {}).get("rates")
    if not rates:
        return []
    from automix_cli.evaluation.health import drifted
    from automix_cli.records import Verdict

    seen = {"escalated": (tally.escalated, tally.answered)}
    for tier, votes in tally.first_votes.items():
        right = votes[Verdict.CORRECT]
        seen[tier] = (right, right + votes[Verdict.INCORRECT])
    fitted = {name: (int(hits), int(cases)) for name, (hits, cases) in rates.items()}
    return [drift.text() for drift in drifted(fitted, seen)]


async def answer_row(cascade: Cascade, question: Question) -> Answer:
    """The row of a question. What automix itself does wrong on one row must not lose the others."""
    from automix_cli.errors import redact
    from automix_cli.records import Answer, RowError

    try:
        return await cascade.answer(question)
    except AutomixError:
        raise
    except Exception as exc:
        error = RowError(type="internal", message=redact(f"{type(exc).__name__}: {exc}"))
        return Answer(question=question).with_error(error)


def fault_row(row: Row) -> Answer:
    """The error row of a line that holds no question."""
    from automix_cli.records import Answer, Question, RowError

    ident = row.index if row.id is None else row.id
    raw = row.raw if isinstance(row.raw, dict) else {}
    asked = raw.get("question")
    text = asked if isinstance(asked, str) else ""
    known = Question(text=text, id=ident, index=row.index, metadata=raw.get("metadata"))
    return Answer(question=known).with_error(
        RowError(type="invalid_input", message=f"line {row.line}: {row.fault}")
    )


# ---------------------------------------------------------------- dry run


def _dry_run(profile: Profile, source: Single | Rows, as_json: bool) -> int:
    """Say what it would cost: stdout carries the estimate, nothing is sent."""
    from automix_cli.cascade.estimate import plan_calls
    from automix_cli.commands.sources import Single
    from automix_cli.data.jsonl import dumps
    from automix_cli.views import report

    if isinstance(source, Single):
        plan = plan_calls(profile, [source.question])
    else:
        plan = plan_calls(profile, (row.question for row in source.all() if row.question is not None))
    typer.echo(dumps(plan) if as_json else "\n".join(report.plan_lines(plan)))
    return 0
