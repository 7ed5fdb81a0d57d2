"""`automix verify`: check answers that somebody already has."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automix_cli.commands import options as o
from automix_cli.commands.session import (
    CallOptions,
    Reporter,
    Show,
    choose_profile,
    open_cascade,
    require_other,
    run_live,
    run_rows,
    written_to,
)
from automix_cli.errors import AutomixError, BudgetError, DataError, GateError, UsageError
from automix_cli.pomdp.signals import Signal

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.commands.sources import Rows
    from automix_cli.data.jsonl import Row
    from automix_cli.profile.model import Profile
    from automix_cli.records import RowError, Verification


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
    tier: Annotated[
        str | None,
        typer.Option(
            "--tier", metavar="NAME", help="The tier that checks (else the row's own, else the cheapest)."
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
    json: o.Json = False,
    explain: Annotated[bool, typer.Option("--explain", help="Give the verifier's reasons.")] = False,
    force: o.Force = False,
    concurrency: o.Concurrency = None,
    no_cache: o.NoCache = False,
    refresh: o.Refresh = False,
    offline: o.Offline = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Check an answer: how likely is it right, and why.

    Without --question, JSONL rows with "question" and "answer" are read from stdin or
    -i FILE; rows that `automix ask` wrote are valid.

    \b
    Examples:
      automix verify --profile demo --question "What is 17 * 23?" --answer 391
      automix ask < questions.jsonl | automix verify > verified.jsonl
      automix verify -i answers.jsonl --check --threshold 0.8
    """  # noqa: D301
    reporter = Reporter(quiet=quiet, verbose=verbose)
    calls = CallOptions(
        profile=profile,
        tiers=tiers,
        no_cache=no_cache,
        refresh=refresh,
        offline=offline,
        concurrency=concurrency,
    )
    if question is not None and input_file is not None:
        raise UsageError("--question and -i exclude each other")
    rows = None if question is not None else _rows(ctx, answer, context, input_file)
    if rows is not None:
        require_other(rows.fd, output)
    chosen = _with_signal(choose_profile(calls), signal)
    if tier is not None:
        chosen.tier(tier)
    show = Show(json=json, explain=explain, output=output, force=force)
    job = _Check(chosen, tier, votes or chosen.verification.max_votes or 1, threshold, check, show, reporter)
    if rows is None:
        asked = job.single(question or "", answer, context)
        raise typer.Exit(
            run_live(open_cascade(chosen, calls, reporter), lambda c: job.one(c, *asked), reporter)
        )
    source = rows
    raise typer.Exit(run_live(open_cascade(chosen, calls, reporter), lambda c: job.many(c, source), reporter))


def _rows(ctx: typer.Context, answer: str | None, context: Path | None, input_file: Path | None) -> Rows:
    from automix_cli.commands.sources import open_rows, show_help

    if answer is not None or context is not None:
        raise UsageError("--answer and --context go with --question")
    rows = open_rows(input_file)
    if rows is None:
        show_help(ctx, "no answer was given")
    rows.check(strict=False)
    return rows


def _with_signal(profile: Profile, signal: Any) -> Profile:
    """The profile with another signal; what was fitted to the old one no longer holds."""
    if signal is None or signal == profile.verification.signal:
        return profile
    verification = replace(profile.verification, signal=signal, logprob_of="verdict")
    return replace(profile, verification=verification, router=None)


class _Check:
    """One invocation: what is checked by whom, and what counts as good enough."""

    def __init__(
        self,
        profile: Profile,
        tier: str | None,
        votes: int,
        threshold: float,
        check: bool,
        show: Show,
        reporter: Reporter,
    ) -> None:
        if profile.verification.signal == "logprob" and profile.verification.logprob_of == "answer":
            raise UsageError(
                "logprob_of: answer needs the tier's own answer, and here the answer is given",
                hint="--signal votes, --signal consistency, or logprob_of: verdict",
            )
        self.profile, self.tier, self.votes = profile, tier, votes
        self.threshold, self.check, self.show, self.reporter = threshold, check, show, reporter
        self.below = self.seen = 0

    def single(self, question: str, answer: str | None, context: Path | None) -> tuple[Any, str]:
        """The question and the answer of the command line."""
        from automix_cli.commands.sources import asked, read_context

        if answer is None:
            raise UsageError("--question needs --answer")
        material = (
            None if context is None else read_context(context, ignore_stdin=True, reporter=self.reporter)
        )
        return asked(question, material), answer

    async def one(self, cascade: Cascade, question: Any, answer: str) -> int:
        """Check one answer and show it to a person, or as a row."""
        from automix_cli.data.output import RowWriter
        from automix_cli.views import report

        found = self.judged(await cascade.verify(question, answer, self._tier_of(None), self.votes))
        if found.error is not None and not self.show.json:
            raise AutomixError(f"{found.tier}: {found.error.message}")
        with written_to(self.show) as out:
            writer = RowWriter(out, self.show.name)
            if self.show.json:
                writer.write(found.to_dict(reasons=self.show.explain))
            else:
                writer.put(f"{report.verification_line(found)}\n".encode())
        if self.show.explain and not self.show.json:
            for line in report.reasons_lines(found):
                self.reporter.say(line)
        self._gate()
        return 0 if found.error is None else 1

    async def many(self, cascade: Cascade, rows: Rows) -> int:
        """Check the answers of many rows."""
        from automix_cli.cascade.batch import Batch
        from automix_cli.views import report

        tally, started = report.CheckTally(), time.monotonic()
        stops: list[RowError] = []

        async def work(row: Row) -> report.Shown:
            return report.Shown(self.judged(await self._verify_row(cascade, row)), self.show.explain)

        def seen(shown: report.Shown) -> None:
            tally.add(shown.found)
            error = shown.found.error
            if error is not None and (error.fatal or error.type == "budget"):
                stops.append(error)
                batch.stop()

        batch = Batch(work, concurrency=cascade.profile.limits.concurrency)
        met = await run_rows(batch, rows, self.show, self.reporter, seen, tally.note)
        self.reporter.say(tally.summary(time.monotonic() - started))
        if met:
            return 128 + met[0]
        if stops:
            kind = BudgetError if stops[0].type == "budget" else AutomixError
            raise kind(f"stopped: {stops[0].message}", hint="the rows written so far are complete")
        self._gate()
        return 3 if tally.errors else 0

    async def _verify_row(self, cascade: Cascade, row: Row) -> Verification:
        from automix_cli.records import Question, RowError, Verification

        try:
            if row.question is None:
                raise DataError(row.fault)
            return await cascade.verify(row.question, answer_of(row.raw), self._tier_of(row.raw), self.votes)
        except DataError as exc:
            ident = row.index if row.id is None else row.id
            return Verification(
                question=row.question or Question(text="", id=ident, index=row.index),
                tier=self._named_tier(row.raw),
                signal=self.profile.verification.signal,
                error=RowError(type="invalid_input", message=f"line {row.line}: {exc.message}"),
            )

    def _tier_of(self, raw: Any) -> Any:
        """The tier that checks: as asked, else the one that answered, else the cheapest.

        Raises:
            DataError: the row names a tier that the profile does not have.
        """
        named, known = self._named_tier(raw), {t.name: t for t in self.profile.tiers}
        if named not in known:
            tiers = ", ".join(known)
            raise DataError(f"tier: no tier {named!r} in profile {self.profile.name} ({tiers}); see --tier")
        return known[named]

    def _named_tier(self, raw: Any) -> str:
        """Its name; that of the cheapest where none is named."""
        named = raw.get("tier") if isinstance(raw, dict) else None
        return self.tier or (self.profile.tiers[0].name if named is None else str(named))

    def judged(self, found: Verification) -> Verification:
        """The verification with its verdict at the threshold; counts what the gate must know."""
        self.seen += 1
        if found.confidence is None:
            self.below += found.error is None
            return found
        right = found.confidence >= self.threshold
        self.below += not right
        return replace(found, verdict="correct" if right else "incorrect")

    def _gate(self) -> None:
        if self.check and not self.seen:
            raise GateError("no answer came in, so none was checked")
        if self.check and self.below:
            answers = "1 answer is" if self.below == 1 else f"{self.below:,} answers are"
            raise GateError(f"{answers} below the threshold of {self.threshold:g}")


def answer_of(raw: Any) -> str:
    """The answer of a row; an empty text is one, null is not.

    Example:
        >>> answer_of({"answer": 4})
        '4'
    """
    if raw.get("status") == "error":
        raise DataError("the row is an error: it holds no answer to check")
    answer = raw.get("answer")
    if answer is None:
        raise DataError("answer: expected text, got nothing")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise DataError("answer: expected text")
    return answer if isinstance(answer, str) else repr(answer)
