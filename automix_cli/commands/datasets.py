"""Labelled rows for `calibrate` and `bench`: questions still to be asked, or traces already recorded."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import typer

from automix_cli.commands.session import (
    CallOptions,
    Reporter,
    Show,
    choose_profile,
    open_cascade,
    price_of_embedding,
    run_live,
    run_rows,
)
from automix_cli.data.jsonl import (
    IdCheck,
    Row,
    dumps,
    open_input,
    parse_line,
    read_chunks,
    rows_of,
    split_lines,
    stdin_kind,
)
from automix_cli.errors import BackendError, BudgetError, DataError, ProfileError, UsageError

if TYPE_CHECKING:
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.data.traces import TraceTable
    from automix_cli.profile.model import Profile, Tier
    from automix_cli.records import Completion, Json, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How a file of traces is read; texts as they stand on the command line.

    `judge_samples`: recorded samples are wanted too, which takes longer.
    """

    columns: str | None = None
    tiers: str | None = None
    costs: str | None = None
    vote_costs: str | None = None
    seed: int = 0
    drop_incomplete: bool = False
    judge_samples: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """The bytes of a data file, read once: what is hashed is what is parsed."""

    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        from hashlib import sha256

        return sha256(self.content).hexdigest()

    def numbered(self) -> Iterator[tuple[int, Json]]:
        """All rows with their line numbers.

        Raises:
            DataError: naming file and line.
        """
        if self.name.endswith(".csv"):
            yield from self._csv()
            return
        for line in split_lines((self.content,)):
            try:
                row = parse_line(line)
                if not isinstance(row, dict):
                    raise DataError("expected a JSON object")
            except DataError as exc:
                raise DataError(f"{self.name}:{line.number}: {exc.message}", hint=exc.hint) from None
            yield line.number, row

    def _csv(self) -> Iterator[tuple[int, Json]]:
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise DataError(f"{self.name}: invalid UTF-8 at byte {exc.start + 1}") from exc
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{self.name}:{reader.line_num}: not as many cells as the header has")
                yield reader.line_num, dict(row)
        except csv.Error as exc:
            raise DataError(f"{self.name}:{reader.line_num}: {exc}") from exc

    def holds_traces(self) -> bool:
        """Whether the rows carry what tiers did on them; the first row tells.

        Raises:
            DataError: there is none.
        """
        first = next(self.numbered(), None)
        if first is None:
            raise DataError(f"{self.name}: there are no rows")
        return "tiers" in first[1]

    def questions(self) -> list[Question]:
        """The rows as questions; any bad line or id that stands twice is an error.

        Raises:
            DataError: naming file and line.
        """
        if self.name.endswith(".csv"):
            raise DataError(
                f"{self.name}: CSV holds traces, not questions", hint="name its columns with --columns"
            )
        ids, found = IdCheck(), []
        for row in map(ids.see, rows_of(split_lines((self.content,)))):
            if row.question is None:
                raise DataError(f"{self.name}:{row.line}: {row.fault}")
            found.append(row.question)
        if not found:
            raise DataError(f"{self.name}: there are no rows")
        return found


def read_data(path: Path) -> Data:
    """Read a file, or stdin for `-`."""
    if str(path) == "-":
        if stdin_kind() not in ("pipe", "file"):
            raise UsageError("- reads stdin, and nothing is piped into it")
        return Data("stdin", b"".join(read_chunks(0)))
    with open_input(path) as file:
        return Data(str(path), b"".join(read_chunks(file.fileno())))


def scored_rows(
    rows: Iterator[tuple[int, Json]], scorer: str, labels_from: str | None
) -> Iterator[tuple[int, Json]]:
    """Trace rows with a score for every answer that has none and can be judged.

    `labels_from` names the tier whose answer counts as right: then every score is
    agreement with it, and recorded scores and gold answers are put aside.
    """
    from automix_cli.data.rows import question_from_dict
    from automix_cli.scoring import score

    for line, row in rows:
        tiers = row.get("tiers")
        lacking = isinstance(tiers, dict) and any(
            isinstance(t, dict) and "answer" in t and not {"score", "correct"} & t.keys()
            for t in tiers.values()
        )
        if not isinstance(tiers, dict) or (labels_from is None and not lacking):
            yield line, row
            continue
        gold, choices = _gold(line, row, labels_from), tuple(row.get("choices") or ())
        if labels_from is None:
            gold = question_from_dict({"question": "?", **row}).expected
        judged = {
            name: {**_without_score(step), "score": score(str(step["answer"]), gold, scorer, choices)}
            if gold and isinstance(step.get("answer"), str) and (labels_from or "score" not in step)
            else step
            for name, step in tiers.items()
        }
        yield line, {**row, "tiers": judged, **({"expected": list(gold)} if labels_from else {})}


def _gold(line: int, row: Json, labels_from: str | None) -> tuple[str, ...]:
    """The answer of the tier that labels come from."""
    if labels_from is None:
        return ()
    step = row["tiers"].get(labels_from)
    if not isinstance(step, dict) or not isinstance(step.get("answer"), str):
        raise DataError(f"line {line}: no answer of {labels_from} to take as the label")
    return (step["answer"],)


def _without_score(step: Json) -> Json:
    return {key: value for key, value in step.items() if key not in ("score", "correct")}


class Bought(Protocol):
    """What can be bought for a question."""

    def to_dict(self) -> dict[str, Json]:
        """The row that is written of it."""
        ...


T = TypeVar("T", bound=Bought)


class Collector(Generic[T]):
    """Buys something for every question, once, and keeps it in the order of the questions."""

    def __init__(
        self,
        questions: list[Question],
        buy: Callable[[Cascade, Question], Awaitable[T]],
        show: Show,
        reporter: Reporter,
    ) -> None:
        self.questions, self.buy, self.show, self.reporter = questions, buy, show, reporter
        self.found: list[T] = []
        self.failed: list[BackendError] = []

    async def run(self, cascade: Cascade) -> int:
        """Collect; returns the exit code of a run that was interrupted, else 0.

        Raises:
            BackendError: no further call can succeed, or none did; what was paid for is in the cache.
        """
        from automix_cli.cascade.batch import Batch

        batch: Batch[Any, Collected[T]] = Batch(
            lambda row: self._collect(cascade, row.question), concurrency=cascade.profile.limits.concurrency
        )

        def seen(found: Collected[T]) -> None:
            if found.bought is not None:
                self.found.append(found.bought)
            elif found.error is not None:
                self.failed.append(found.error)
                if found.error.fatal or isinstance(found.error, BudgetError):
                    batch.stop()

        rows = GivenRows(self.questions)
        met = await run_rows(
            batch, rows, self.show, self.reporter, seen, lambda s: f"{len(self.found) / s:.1f} rows/s"
        )
        if met:
            return 128 + met[0]
        self._judge()
        return 0

    async def _collect(self, cascade: Cascade, question: Question) -> Collected[T]:
        try:
            return Collected(await self.buy(cascade, question), None)
        except BackendError as exc:
            return Collected(None, exc)

    def _judge(self) -> None:
        """Some failed rows are left out and said; a stop, or nothing at all, is an error."""
        last = self.failed[-1] if self.failed else None
        if last is not None and (last.fatal or isinstance(last, BudgetError) or not self.found):
            raise last
        if last is not None:
            self.reporter.say(
                f"{len(self.failed)} of {len(self.questions)} questions failed and are left out: {last}"
            )


class Collected(NamedTuple, Generic[T]):
    """What was bought for a question, or why there is nothing."""

    bought: T | None
    error: BackendError | None

    def to_dict(self) -> dict[str, Json]:
        """The row of what was bought; nothing is written of a question that failed."""
        return {} if self.bought is None else self.bought.to_dict()


class Embedded(NamedTuple):
    """The embedding of a text, as it was bought."""

    text: str
    completion: Completion

    def to_dict(self) -> dict[str, Json]:
        """The text and its embedding, packed."""
        return {"text": self.text, "embedding": self.completion.text}


class GivenRows:
    """Questions that are in memory already, as a source of rows."""

    def __init__(self, questions: list[Question]) -> None:
        self.questions = questions
        self.total = len(questions)

    async def stream(self) -> AsyncIterator[Row]:
        """The rows in order."""
        for index, question in enumerate(self.questions):
            yield Row(index, index + 1, question)


def table_of(rows: Iterator[tuple[int, Any]], options: TableOptions, name: str, scorer: str) -> TraceTable:
    """Numbered rows as a table, with the options applied."""
    from automix_cli.data.columns import read_amounts, read_columns
    from automix_cli.data.read_traces import read_table

    first = next(rows, None)
    if first is None:
        raise DataError(f"{name}: there are no rows")
    if options.columns is None and "tiers" not in first[1]:
        raise DataError(
            f"{name}: the rows hold no tiers", hint="--columns small.score=COLUMN,large.score=COLUMN"
        )
    try:
        table = read_table(
            chain((first,), rows),
            columns=None if options.columns is None else read_columns(options.columns),
            tiers=[] if options.tiers is None else [t.strip() for t in options.tiers.split(",")],
            costs=read_amounts(options.costs, "--costs") if options.costs else {},
            vote_costs=read_amounts(options.vote_costs, "--vote-costs") if options.vote_costs else {},
            seed=options.seed,
            scorer=scorer if options.judge_samples else None,
        )
        return table.scored(drop=options.drop_incomplete)
    except DataError as exc:
        raise DataError(located(exc.message, name), hint=exc.hint) from None


def located(message: str, name: str) -> str:
    """A message that begins with the file, and the line where it names one.

    Example:
        >>> located("line 7: id '5' stands twice", "rows.jsonl")
        "rows.jsonl:7: id '5' stands twice"
    """
    if message.startswith(f"{name}:"):
        return message
    line = re.match(r"line (\d+): ", message)
    return f"{name}:{line[1]}: {message[line.end() :]}" if line else f"{name}: {message}"


def check_embed_model(model: str, who_would: str) -> None:
    """Refuse an embedding model that is none, or that nobody would read.

    `who_would` says who reads embeddings, where nobody who was asked for does; else it is "".

    Raises:
        UsageError: it cannot be used.
    """
    from automix_cli.backends.catalog import model_problem

    if problem := model_problem(model):
        raise UsageError(f"--embed-model: {problem}")
    if who_would:
        raise UsageError("--embed-model: nobody here looks at questions", hint=who_would)


# ---------------------------------------------------------------- what a command is given


class TraceSource:
    """Where the table comes from: a file of traces, or every tier asked now."""

    def __init__(
        self,
        data: Data,
        options: TableOptions,
        calls: CallOptions,
        reporter: Reporter,
        traces: Path | None,
        labels_from: str | None,
        force: bool,
        embed_model: str | None = None,
    ) -> None:
        self.force, self.embed_model = force, embed_model
        self.data, self.options, self.calls, self.reporter = data, options, calls, reporter
        self.traces, self.labels_from = traces, labels_from

    def dry_run(self, recorded: bool, as_json: bool) -> int:
        """Say what collecting would cost; traces cost nothing, but embeddings of their questions do."""
        from automix_cli.views import report

        if recorded and self.embed_model is None:
            typer.echo(f"{self.data.name} holds traces: no calls, $0")
            return 0
        plan = self._plan_of_traces() if recorded else self._plan(self.profile())
        typer.echo(dumps(plan) if as_json else "\n".join(report.plan_lines(plan)))
        return 0

    def recorded(self) -> tuple[Profile, TraceTable, float | None]:
        """The profile, the table of the file, and how real prompt tokens compare with estimates."""
        if self.traces is not None:
            raise UsageError("--traces keeps what is collected, and this file holds traces already")
        chosen = _profile_for_traces(self.calls)
        table = self._table(chosen, self.data.numbered(), self.options)
        scale = _token_scale(chosen, table, None)
        embedder = self._embedder(chosen)
        if embedder is None:
            return chosen, table, scale
        collector = self._embeddings(_texts_of(table, self.data.name), embedder)
        cascade = open_cascade(replace(chosen, tiers=(), router=None), self.calls, self.reporter, embedder)
        self._done(run_live(cascade, collector.run, self.reporter))
        return chosen, with_embeddings(table, embedder, collector.found), scale

    def profile(self) -> Profile:
        """The profile whose tiers would be asked.

        Raises:
            ProfileError: it cannot be used.
            UsageError: it lacks a tier that is picked, or the one that labels come from.
        """
        chosen = _picked(choose_profile(self.calls), self.options.tiers)
        if self.labels_from is not None:
            chosen.tier(self.labels_from)
        return chosen

    def collected(self) -> tuple[Profile, TraceTable, float | None]:
        """The same, after asking every tier of the profile every question."""
        from automix_cli.views import report

        chosen, questions = self.profile(), self._questions()
        embedder = self._embedder(chosen)
        for line in report.plan_lines(self._plan(chosen))[:-1]:
            self.reporter.say(line)
        show = Show(output=self.traces, force=self.force, silent=self.traces is None)
        collector = Collector(questions, lambda c, question: c.collect(question), show, self.reporter)
        embeddings = None if embedder is None else self._embeddings(questions, embedder)
        cascade = open_cascade(replace(chosen, router=None), self.calls, self.reporter, embedder)

        async def job(opened: Cascade) -> int:
            code = await collector.run(opened)
            return code or (0 if embeddings is None else await embeddings.run(opened))

        self._done(run_live(cascade, job, self.reporter))
        numbered = enumerate((t.to_dict() for t in collector.found), 1)
        options = replace(self.options, tiers=",".join(t.name for t in chosen.tiers))
        table = self._table(chosen, numbered, options)
        scale = _token_scale(chosen, table, [t.question for t in collector.found])
        if embedder is not None and embeddings is not None:
            table = with_embeddings(table, embedder, embeddings.found)
        return chosen, table, scale

    def _table(self, profile: Profile, rows: Iterator[tuple[int, Any]], options: TableOptions) -> TraceTable:
        """Numbered trace rows, judged as the profile's task says, as a table."""
        scorer = profile.task.scorer
        return table_of(scored_rows(rows, scorer, self.labels_from), options, self.data.name, scorer)

    def _done(self, code: int) -> None:
        """Leave with the code of a run that was interrupted."""
        if code:
            raise typer.Exit(code)

    def _embedder(self, profile: Profile) -> Tier | None:
        """The model of `--embed-model`, as the profile reaches it.

        Raises:
            UsageError: there is no such model, or its price is unknown: then nothing can be compared.
        """
        if self.embed_model is None:
            return None
        tier = profile.embedder(self.embed_model)
        if tier.list_price() is None:
            raise UsageError(
                f"the price of {tier.model} is unknown, and what a router costs is part of its worth",
                hint=f"tell it in the profile: {price_of_embedding(tier)}",
            )
        return tier

    def _embeddings(self, questions: list[Question], tier: Tier) -> Collector[Embedded]:
        """Who buys the embedding of every question; of equal ones once."""

        async def buy(cascade: Cascade, question: Question) -> Embedded:
            return Embedded(question.text, await cascade.embed(question, tier))

        different = list({q.text: q for q in questions}.values())
        return Collector(different, buy, Show(silent=True), self.reporter)

    def _plan(self, profile: Profile) -> dict[str, Any]:
        """What collecting would cost."""
        from automix_cli.cascade.estimate import plan_collection, plan_embeddings

        questions = self._questions()
        plan = plan_collection(profile, questions)
        embedder = self._embedder(profile)
        return plan if embedder is None else plan_embeddings(plan, embedder, questions)

    def _plan_of_traces(self) -> dict[str, Any]:
        """What the embeddings of recorded questions would cost."""
        from automix_cli.cascade.estimate import NO_CALLS, plan_embeddings

        chosen = _profile_for_traces(self.calls)
        table = self._table(chosen, self.data.numbered(), self.options)
        questions = _texts_of(table, self.data.name)
        plan = {"questions": len(questions), "profile": chosen.name, "policy": "none", **NO_CALLS}
        embedder = self._embedder(chosen)
        return plan if embedder is None else plan_embeddings(plan, embedder, questions)

    def _questions(self) -> list[Question]:
        questions = self.data.questions()
        unlabelled = sum(not q.expected for q in questions)
        if unlabelled and self.labels_from is None:
            raise DataError(
                f'{self.data.name}: {unlabelled} of {len(questions)} rows have no "expected"',
                hint="--labels-from TIER measures agreement with that tier instead",
            )
        if self.labels_from is not None:
            questions = [replace(q, expected=()) for q in questions]
        return questions


def _texts_of(table: TraceTable, name: str) -> list[Question]:
    """The recorded questions.

    Raises:
        DataError: some row records none.
    """
    from automix_cli.records import Question

    blank = sum(not str(text).strip() for text in table.texts)
    if blank:
        raise DataError(f"{name}: {blank:,} of {len(table):,} rows record no question to embed")
    return [Question(text=str(text)) for text in table.texts]


def with_embeddings(table: TraceTable, tier: Tier, bought: list[Embedded]) -> TraceTable:
    """The rows whose question could be embedded, with its embedding, what that cost and how long it took.

    Raises:
        DataError: the embeddings are not all of one length.
    """
    import numpy as np

    from automix_cli.backends.embedding import unpacked
    from automix_cli.cascade.visit import list_cost
    from automix_cli.data.traces import Embeddings

    found = {text: (unpacked(done.text), list_cost(tier, [done]), done.latency_s) for text, done in bought}
    if len(widths := {len(vector) for vector, _, _ in found.values()}) > 1:
        told = " and of ".join(map(str, sorted(widths)))
        raise DataError(
            f"{tier.model}: embeddings of {told} numbers: the model has changed",
            hint="--refresh buys all anew",
        )
    kept = table.subset(np.array([str(text) in found for text in table.texts], dtype=bool))
    vectors, costs, seconds = zip(*(found[str(text)] for text in kept.texts), strict=True)
    embeddings = Embeddings(tier.model, np.array(vectors), np.array(costs, dtype=float), np.array(seconds))
    return replace(kept, embeddings=embeddings)


def _picked(profile: Profile, tiers: str | None) -> Profile:
    """The profile with only the tiers that `--tiers` names."""
    if tiers is None:
        return profile
    return replace(profile, tiers=tuple(profile.tier(t.strip()) for t in tiers.split(",")), router=None)


def _profile_for_traces(calls: CallOptions) -> Profile:
    """The profile the router is for; traces can be looked at without any."""
    from automix_cli.profile.model import Profile

    try:
        return choose_profile(calls)
    except ProfileError:
        if calls.profile is not None:
            raise
        return Profile(name="none", tiers=(), origin="bundled")


def _token_scale(profile: Profile, table: TraceTable, questions: list[Question] | None) -> float | None:
    """Prompt tokens as counted by the first tier per token as estimated; None where nobody counted.

    Of recorded rows some thousands say it, evenly spaced.
    """
    import numpy as np

    from automix_cli.cascade.requests import estimated_tokens
    from automix_cli.records import Question

    counted = table.prompt_tokens
    if not np.isfinite(counted).all():
        return None
    if questions is None:
        some = np.flatnonzero(table.texts != "")[:: max(1, len(table) // _ENOUGH)]
        questions, counted = [Question(text=str(text)) for text in table.texts[some]], counted[some]
    estimate = sum(estimated_tokens(profile, q) for q in questions if q.text)
    return float(counted.sum()) / estimate if estimate else None


_ENOUGH = 5_000  # rows to tell how tokens are counted
