"""`automix ask`: one question, a pipe or a file of rows, through the cascade."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer
from msgspec import Struct
from msgspec.structs import replace

from automix_cli.api import CallOptions, Runtime, choose_profile, router_notes, shadow_plan
from automix_cli.commands import options as o
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.commands.rows import RowRun, check_destination, destination_of, pick_rows
from automix_cli.data.shards import MOST_SHARDS, parse_shard
from automix_cli.errors import UsageError
from automix_cli.library.option_checks import check_baseline
from automix_cli.records import ASK_SCHEMA
from automix_cli.views.stops import error_of_row
from automix_cli.views.terminal import Reporter, show_plan, stderr_console

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.jobs import EarlierRow
    from automix_cli.cascade.shadow import ShadowPlan
    from automix_cli.commands.engine import EngineRun
    from automix_cli.data.destination import Destination
    from automix_cli.data.sources import Rows, Single
    from automix_cli.profile.model import Profile
    from automix_cli.records import Answer


app = command_app()


@app.command("ask", cls=ModelCommand)
def ask(
    ctx: typer.Context,
    question: Annotated[str | None, typer.Argument(metavar="[QUESTION]", help="One question.")] = None,
    input_file: o.Input = None,
    output: o.Output = None,
    form: Annotated[
        Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "text"],
        typer.Option("--input", help="What the input holds."),
    ] = "auto",
    columns: o.ColumnMap = None,
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
        typer.Option(
            "--tier",
            metavar="NAME",
            help="Ask this tier once: no votes, no escalation.",
            autocompletion=o.complete_tier,
        ),
    ] = None,
    json: o.AsJson = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show tiers, votes, belief and money.")] = False,
    dry_run: o.DryRun = False,
    limit: o.Limit = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=0, metavar="N", help="Only N rows drawn at random.")
    ] = None,
    seed: o.Seed = 0,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only shard I of N of the rows, I from 0 to N - 1, by a hash of their ids; "
            "automix merge puts the shards together.",
        ),
    ] = None,
    engine: Annotated[
        Literal["ray"] | None,
        typer.Option("--engine", help="Work on the shards of -i FILE on the workers of a Ray cluster."),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards",
            min=1,
            max=MOST_SHARDS,
            metavar="N",
            help="How many shards --engine makes [one for each CPU of the cluster].",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the whole file for one bad line.")] = False,
    force: o.Force = False,
    resume: o.Resume = False,
    unordered: Annotated[bool, typer.Option("--unordered", help="Write rows as they finish.")] = False,
    concurrency: o.Concurrency = None,
    max_cost: o.MaxCost = None,
    on_budget: o.OnBudget = "stop",
    shadow: Annotated[
        float,
        typer.Option(
            "--shadow",
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Ask the baseline, too, on this share of rows, drawn at random: automix audit reads them.",
            callback=o.finite,
        ),
    ] = 0.0,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="TIER",
            help="Tier to compare with [the dearest].",
            autocompletion=o.complete_tier,
        ),
    ] = None,
    no_cache: o.NoCache = False,
    refresh: o.Refresh = False,
    offline: o.Offline = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Answer a question with the cheapest tier that can be trusted.

    Without QUESTION, rows with at least a question are read from stdin or -i FILE (JSONL, JSON,
    CSV, TSV, Parquet, files of other tools), and one row per row is written, in input order.

    \b
    Examples:
      automix ask --profile demo "What is 17 * 23?"
      cat notes.txt | automix ask "What was decided?"
      automix ask < questions.jsonl > answers.jsonl
      automix ask -i questions.jsonl -o answers.jsonl --dry-run
      automix ask -i questions.jsonl -o answers.jsonl --shadow 0.02
      automix ask -i questions.jsonl -o part-0.jsonl --shard 0/4
    """  # noqa: D301
    from automix_cli.cascade.cap_notes import cap_notes
    from automix_cli.data.choice_places import LETTERS_AND_TEXTS
    from automix_cli.data.sources import Rows, Single, find_source
    from automix_cli.views import lines

    reporter = Reporter(quiet=quiet, verbose=verbose)
    source = find_source(
        question,
        input_file=input_file,
        context=context,
        form=form,
        ignore_stdin=ignore_stdin,
        columns=columns,
        say=reporter.say,
    )
    if source is None:
        o.show_help(ctx, "no question was given")
    if shadow and isinstance(source, Single):
        raise UsageError("--shadow draws from rows; this is one question")
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
        baseline=baseline,
        shadow=shadow,
        seed=seed,
    )
    if shards is not None and engine is None:
        raise UsageError("--shards goes with --engine ray", hint="--shard I/N is one of N shards")
    if engine is not None:
        run = _engine_run(
            source, output, shard, unordered=unordered or explain, calls=calls, reporter=reporter
        )
        run = replace(run, form=form, columns=columns, limit=limit, sample=sample, strict=strict)
        run = replace(run, force=force, resume=resume, shards=shards)
        run.check()
        if not dry_run:
            raise typer.Exit(run.on_ray())
    source = _pick(source, limit, sample, seed, shard, strict=strict, output=output)
    if not isinstance(source, Single):
        calls = replace(calls, max_cost_share=source.share)
    active_profile = choose_profile(calls)
    check_baseline(baseline, [t.name for t in active_profile.tiers])
    if resume and unordered:
        raise UsageError("--resume writes rows in the order of the input: it excludes --unordered")
    if shard is not None and unordered:
        raise UsageError("automix merge needs the rows of a shard in order: --shard excludes --unordered")
    if not isinstance(source, Single) and source.stamp is not None:
        reporter.say(lines.shard_line(source.stamp, active_profile.limits.max_cost))
    if dry_run:
        if engine is None:
            check_destination(source, output, force=force, resume=resume)
        raise typer.Exit(_dry_run(active_profile, source, shadow_plan(active_profile, calls), json))
    destination = destination_of(
        None if isinstance(source, Single) else source,
        output,
        schema=ASK_SCHEMA,
        profile_sha=active_profile.sha,
        force=force,
        resume=resume,
    )
    runtime = Runtime(
        active_profile,
        calls,
        note=reporter.once,
        detail=reporter.detail,
        is_single=isinstance(source, Single),
    )
    for line in (*router_notes(active_profile), *cap_notes(active_profile)):
        reporter.once(line)
    if isinstance(source, Rows) and source.places is not None and active_profile.task.scorer != "choice":
        reporter.once(LETTERS_AND_TEXTS)
    command = _Ask(
        *(destination, reporter), json=json, explain=explain, ordered=not unordered, is_cached=not no_cache
    )
    if explain and not quiet:
        command = replace(command, explanation=_Explanation(runtime.cascade, reporter))
    raise typer.Exit(runtime.run(lambda cascade: command.run(cascade, source)))


def _engine_run(
    source: Single | Rows,
    output: Path | None,
    shard: str | None,
    *,
    unordered: bool,
    calls: CallOptions,
    reporter: Reporter,
) -> EngineRun:
    """A run on many workers.

    Raises:
        UsageError: there is no file that workers can read, or none to write to.
    """
    from automix_cli.commands.engine import EngineRun
    from automix_cli.data.sources import Single

    if isinstance(source, Single) or source.is_pipe or source.name == "stdin":
        raise UsageError("--engine ray reads a file that all workers see", hint="-i FILE")
    if output is None:
        raise UsageError("--engine ray writes to a folder that all workers see", hint="-o FILE")
    if shard is not None or unordered:
        raise UsageError("--engine ray excludes --shard, --unordered and --explain")
    return EngineRun(source=source, output=output, calls=calls, reporter=reporter)


def _pick(
    source: Single | Rows,
    limit: int | None,
    sample: int | None,
    seed: int,
    shard: str | None,
    *,
    strict: bool,
    output: Path | None,
) -> Single | Rows:
    """The one question, or the rows that are wanted.

    Raises:
        UsageError: rows are picked from one question, or would be overwritten.
        DataError: a line is refused.
    """
    from automix_cli.data.sources import Single

    if not isinstance(source, Single):
        own = None if shard is None else parse_shard(shard)
        return pick_rows(
            source, output=output, limit=limit, sample=sample, seed=seed, strict=strict, shard=own
        )
    if limit is not None or sample is not None or shard is not None:
        raise UsageError("--limit, --sample and --shard pick from rows; this is one question")
    return source


def _dry_run(profile: Profile, source: Single | Rows, shadow: ShadowPlan | None, as_json: bool) -> int:
    """Say what it would cost: stdout carries the estimate, nothing is sent."""
    from automix_cli.backends.store_folder import cache_folder
    from automix_cli.cascade.break_even import break_even
    from automix_cli.cascade.estimate import plan_calls, policy_of
    from automix_cli.cascade.lengths import MOST_QUESTIONS, cached_lengths
    from automix_cli.cascade.past_runs import past_runs
    from automix_cli.data.jsonl import BadRows
    from automix_cli.data.sources import Single
    from automix_cli.profile.router import is_calibrated
    from automix_cli.views.question_plans import planned_lines

    bad = BadRows("" if isinstance(source, Single) else source.name)
    questions = iter([source.question]) if isinstance(source, Single) else bad.questions(source.all())
    first = list(islice(questions, MOST_QUESTIONS))
    lengths = cached_lengths(profile, first, cache_folder(os.environ))
    policy, is_measured = policy_of(profile), is_calibrated(profile)
    past = {} if is_measured else past_runs(profile, policy, first, cache_folder(os.environ))
    plan = plan_calls(profile, chain(first, questions), lengths, shadow, past)
    own = None if is_measured else break_even(profile, first, lengths)
    words = () if as_json else planned_lines(profile, policy, first, plan["questions"])
    show_plan({**plan, **bad.to_dict()}, as_json, own, words=words, profile=profile)
    return 0


# ---------------------------------------------------------------- run and show


class _Explanation:
    """Shows for each answer what was planned, and what happened; on a terminal, once, what the words mean."""

    def __init__(self, cascade: Cascade, reporter: Reporter) -> None:
        from automix_cli.views.question_plans import QuestionPlans

        self.cascade, self.reporter = cascade, reporter
        self.plans = QuestionPlans(cascade.profile, cascade.active_policy())

    def show(self, answer: Answer) -> None:
        """Write the tree of one answer on stderr."""
        from automix_cli.views import lines

        plan = self.plans.of_answer(self.cascade, answer)
        console = stderr_console()
        console.print(lines.explain_tree(answer, plan, self.plans.trust))
        if console.is_terminal:
            for line in lines.explain_legend(answer):
                self.reporter.once(line)


class _Ask(Struct, frozen=True):
    """One invocation: where its rows go, and what is shown of them."""

    destination: Destination
    reporter: Reporter
    json: bool
    explain: bool
    ordered: bool
    explanation: _Explanation | None = None
    is_cached: bool = True

    async def run(self, cascade: Cascade, source: Single | Rows) -> int:
        """Answer one question, or many; returns the exit code."""
        from automix_cli.data.sources import Single

        if isinstance(source, Single):
            return self._show(await cascade.answer(source.question))
        return await self._run_rows(cascade, source)

    def _explain(self, answer: Answer | EarlierRow) -> None:
        if self.explanation is not None and not isinstance(answer, dict):
            self.explanation.show(answer)

    # ------------------------------------------------------------ one question

    def _show(self, answer: Answer) -> int:
        """Write one answer; a failed one is an error for people, and a row under --json."""
        from automix_cli.views import lines

        self._explain(answer)
        error, tier = answer.error, answer.error and answer.error.tier
        failure = None if error is None else error_of_row(error, answer.spent_usd, f"{tier or 'no tier'}: ")
        if failure is not None and not self.json:
            raise failure
        with self.destination.open() as out:
            self._write(answer, out)
        if not self.explain:
            self.reporter.say(lines.footer(answer))
        return 0 if failure is None else failure.exit_code

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
        """Answer rows."""
        from automix_cli.cascade.jobs import AnswerJob
        from automix_cli.fitting.drift import drifts_from_fit
        from automix_cli.views import lines
        from automix_cli.views.payer_lines import batch_line

        job = AnswerJob(cascade, self.destination.earlier, rows.stamp)

        def summary(seconds: float, is_whole: bool) -> Iterator[str]:
            yield from lines.batch_summary(job.tally, seconds)
            whole = is_whole and not job.tally.is_partial
            if line := batch_line(job.tally.costs, cascade.profile, whole=whole):
                yield line

        run = RowRun(
            rows,
            self.destination,
            self.reporter,
            job.tally,
            note=lambda seconds: lines.progress_note(job.tally, seconds),
            summary=summary,
            is_cached=self.is_cached,
        )
        ending = await run.run(job, self._explain, ordered=self.ordered)
        earlier = self.destination.earlier
        is_rest = ending.early or (earlier is not None and earlier.failed_rows)  # no draw from all rows
        rates = {} if is_rest else job.tally.rates()
        for drift in drifts_from_fit(cascade.profile.router, rates):
            self.reporter.say(drift.text())
        return run.exit_code(ending)
