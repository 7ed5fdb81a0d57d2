"""What `calibrate` and `bench` read: recorded traces, or every tier asked now."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.data.labelled import DataFile, TableOptions, recorded_questions
from automix_cli.errors import ProfileError, UsageError
from automix_cli.usage import add_money
from automix_cli.views.terminal import Reporter, row_progress

if TYPE_CHECKING:
    from automix_cli.backends.budget import Budget
    from automix_cli.backends.meter import MeteredBackend
    from automix_cli.cascade.break_even import BreakEven
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.cascade.collect import CollectedRow, Embedded, Purchase
    from automix_cli.data.destination import Destination
    from automix_cli.data.groups import Grouping
    from automix_cli.data.traces import TraceTable
    from automix_cli.profile.model import Profile, Tier
    from automix_cli.records import Json, Question
    from automix_cli.scoring.comparison import OtherScorer

P = TypeVar("P", bound="Purchase")
T = TypeVar("T")


class Runner(Protocol):
    """Runs a job with the cascade of a runtime, and closes it."""

    def __call__(self, runtime: Runtime, job: Callable[[Cascade], Awaitable[T]], /) -> T:
        """The result of the job."""
        ...


def check_embed_model(model: str, readers: str) -> None:
    """Refuse an embedding model that is none, or that no policy would read.

    `readers` says which options read embeddings, where none of them was given; else it is "".

    Raises:
        UsageError: it cannot be used.
    """
    from automix_cli.backends.catalog import model_problem

    if problem := model_problem(model):
        raise UsageError(f"--embed-model: {problem}")
    if readers:
        raise UsageError("--embed-model: nobody here looks at questions", hint=readers)


class Purchases(NamedTuple, Generic[P]):
    """What was bought for questions, and the USD that went to questions which failed; None for unknown."""

    purchases: list[P]
    lost_usd: float | None


def is_free(table: TraceTable) -> bool:
    """Whether every recorded cost is 0, as with models on a server of one's own."""
    return bool(len(table)) and bool((table.cost == 0).all())


FREE_NOTE = (
    "note: every tier costs $0 here, so that routing can save no money; price: {input: …, output: …} in the "
    "profile says what tokens are worth, automix calibrate --value-of-time USD what an hour of waiting is"
)


class Labelled(NamedTuple):
    """Labelled rows as a table, their profile, and how real prompt tokens compare with estimates."""

    profile: Profile
    table: TraceTable
    token_scale: float | None


@dataclass(slots=True, kw_only=True)
class TraceSource:
    """Where the table comes from: a file of traces, or every tier asked now.

    `is_recorded` tells whether the file holds traces. `own_profile` is a profile that is there already, else
    `calls` says which; `budget` is that of other calls, too; `runner` runs the jobs that make calls.
    `other_scorer` finds many answers right that the task's scorer finds wrong, once the table is read.
    """

    data: DataFile
    options: TableOptions
    calls: CallOptions
    reporter: Reporter
    traces: Path | None
    labels_from: str | None
    baseline: str | None
    force: bool
    embed_model: str | None = None
    labels: Path | None = None
    command: str = "calibrate"
    own_profile: Profile | None = None
    budget: Budget | None = None
    runner: Runner = Runtime.run
    is_recorded: bool = field(init=False)
    other_scorer: OtherScorer | None = field(default=None, init=False)
    _meters: list[MeteredBackend] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_recorded = self.data.holds_traces()
        if self.labels is not None and not self.is_recorded:
            raise UsageError("--labels goes with recorded answers, and this file holds questions")

    def read(self) -> Labelled:
        """The table, after asking the tiers where nothing is recorded; rows short of votes set aside."""
        from automix_cli.data.recorded_signals import AUTO, unread_notes

        own = self.read_recorded() if self.is_recorded else self.collect_rows()
        for note in unread_notes(own.table.unread_confidences if self.options.signal == AUTO else ()):
            self.reporter.say(f"note: {note}")
        table, short = own.table.without_short_rows(own.profile.verification.max_votes)
        if short:
            self.reporter.say(f"note: {short:,} of {len(own.table):,} rows hold fewer votes; set aside")
        return own._replace(table=self._with_signal(own.profile, table))

    def _with_signal(self, profile: Profile, table: TraceTable) -> TraceTable:
        """The table with the signal that the options name, else with a confidence that the profile asks for.

        A verdict's confidence has its vote beside it: fitted as a vote, it would not be read live.
        """
        from automix_cli.data.recorded_signals import signals_in, with_recorded

        name, own = self.options.signal, profile.verification
        if name is None and profile.tiers and own.signal == "logprob":
            asked_for = "verdict" if own.logprob_of == "verdict" else "confidence"
            return with_recorded(table, asked_for) if asked_for in signals_in(table) else table
        return table if name in (None, "auto") else with_recorded(table, str(name))

    def profile(self) -> Profile:
        """The profile whose tiers would be asked.

        Raises:
            ProfileError: it cannot be used.
            UsageError: it lacks a tier that is picked, or the one that labels come from.
        """
        profile = self.own_profile or choose_profile(self.calls)
        if self.options.tiers is not None:
            tiers = tuple(profile.tier(t.strip()) for t in self.options.tiers.split(","))
            profile = replace(profile, tiers=tiers, router=None)
        if self.labels_from is not None:
            profile.tier(self.labels_from)
        return profile

    def note_free(self) -> None:
        """Say before any call that nothing can be saved, where the tiers that would be asked cost nothing."""
        if self.is_recorded:
            return
        from automix_cli.cascade.uncalibrated import is_free

        if is_free(self.profile()):
            self.reporter.once(FREE_NOTE)

    def note_samples(self) -> None:
        """Say before any call that rows are those of `automix profile init`, which stand for one's own."""
        from automix_cli.data.groups import FEWEST_GROUPS
        from automix_cli.profile.starter import labelled_rows

        if self.is_recorded:
            return
        samples = {(row["question"], row["expected"]) for row in labelled_rows()}
        questions = self.questions()
        count = sum((q.text, *q.expected) in samples for q in questions)
        if 2 * count > len(questions):
            self.reporter.once(
                f"note: {count:,} of {len(questions):,} rows are the sample rows of automix profile init: "
                f"replace them by your own, at least {FEWEST_GROUPS}"
            )

    def note_choices(self, profile: Profile) -> None:
        """Say before any call that choices are answered by letter, where the scorer compares texts."""
        from automix_cli.data.choice_places import LETTERS_AND_TEXTS

        if self.is_recorded or profile.task.scorer == "choice":
            return
        questions = [q for q in self.questions() if q.choices and q.expected]
        if any(text in q.choices and len(text) > 1 for q in questions for text in q.expected):
            self.reporter.once(LETTERS_AND_TEXTS)

    def group_questions(self) -> Grouping:
        """Which questions are the same, before anything is asked."""
        from automix_cli.data.groups import group_questions

        return group_questions(self.questions(), (), None)

    def questions(self) -> list[Question]:
        """The rows as questions, with labels as far as they are looked at."""
        return self.data.labelled_questions(self.baseline, ignores_labels=self.labels_from is not None)

    # ------------------------------------------------------------ what it would cost

    def break_even(self, profile: Profile) -> BreakEven | None:
        """What verification costs beside the last tier's answer, on the first questions."""
        from automix_cli.backends.store_folder import cache_folder
        from automix_cli.cascade import break_even
        from automix_cli.cascade.lengths import MOST_QUESTIONS, cached_lengths

        questions = self.questions()[:MOST_QUESTIONS]
        return break_even.break_even(
            profile, questions, cached_lengths(profile, questions, cache_folder(os.environ))
        )

    def plan(self, profile: Profile) -> dict[str, Any]:
        """What collecting would cost."""
        from automix_cli.backends.store_folder import cache_folder
        from automix_cli.cascade.estimate import plan_collection, plan_embeddings
        from automix_cli.cascade.lengths import cached_lengths
        from automix_cli.cascade.pay_now import plan_with_cache

        questions = self.questions()
        self._column_values()  # before anything is paid for
        folder = cache_folder(os.environ)
        lengths = cached_lengths(profile, questions, folder)
        plan = plan_collection(profile, questions, lengths)
        embedder = self._embedder(profile)
        if embedder is not None:
            plan = plan_embeddings(plan, embedder, questions)
        if self.calls.refresh or self.calls.no_cache:
            return plan
        return plan_with_cache(plan, profile, questions, lengths, folder)

    def plan_of_traces(self) -> dict[str, Any]:
        """What the embeddings of recorded questions would cost."""
        from automix_cli.cascade.estimate import NO_CALLS, plan_embeddings
        from automix_cli.data.label_file import trace_rows

        profile = self.own_profile or profile_for_traces(self.calls)
        table = self.table(profile, *trace_rows(self.data, self.options, self.labels, self.reporter.say))
        questions = recorded_questions(table, self.data.name)
        plan = {"questions": len(questions), "profile": profile.name, "policy": "none", **NO_CALLS}
        embedder = self._embedder(profile)
        return plan if embedder is None else plan_embeddings(plan, embedder, questions)

    def check_traces(self) -> None:
        """Refuse a file of `--traces` that cannot be written, before anything is paid for."""
        if self.traces is None:
            return
        if self.is_recorded:
            raise UsageError("--traces keeps what is collected, and this file holds traces already")
        from automix_cli.data.destination import Destination

        Destination(path=self.traces, force=self.force).check(
            "--force overwrites the traces; of the profile the router: block is replaced in any case\n"
            f"--traces OTHER.jsonl keeps both; what the cache holds is not paid for again\n"
            f"automix {self.command} {shlex.quote(str(self.traces))}   reads them, without calls"
        )

    # ------------------------------------------------------------ the table

    def read_recorded(self) -> Labelled:
        """The table of the file."""
        from automix_cli.cascade.token_scale import token_scale
        from automix_cli.data.label_file import trace_rows

        self.check_traces()
        if self.data.places is not None:
            self.reporter.say(f"read: {self.data.places.words()}")
        profile = self.own_profile or profile_for_traces(self.calls)
        table = self.table(profile, *trace_rows(self.data, self.options, self.labels, self.reporter.say))
        scale = token_scale(profile, table)
        embedder = self._embedder(profile)
        if embedder is None:
            return Labelled(profile, table, scale)
        from automix_cli.cascade.collect import with_embeddings  # here, because it is slow to import

        questions = recorded_questions(table, self.data.name)
        runtime = self._open(replace(profile, tiers=(), router=None), embedder)
        embeddings = self.runner(runtime, lambda cascade: self._embed(cascade, questions, embedder))
        return Labelled(profile, with_embeddings(table, embedder, embeddings), scale)

    def collect_rows(self) -> Labelled:
        """The table of every question asked of every tier of the profile."""
        from automix_cli.cascade.cap_notes import collection_notes
        from automix_cli.cascade.collect import with_embeddings
        from automix_cli.cascade.token_scale import token_scale
        from automix_cli.views import lines

        self.check_traces()
        profile, questions = self.profile(), self.questions()
        self.note_samples()
        self.note_choices(profile)
        if line := self.data.guess_line():
            self.reporter.say(line)
        self._check_prices(profile)
        embedder = self._embedder(profile)
        for line in lines.plan_lines(self.plan(profile))[:-1]:
            self.reporter.say(line)
        for line in collection_notes(profile):
            self.reporter.say(line)
        runtime = self._open(replace(profile, router=None), embedder)

        async def job(cascade: Cascade) -> tuple[Purchases[CollectedRow], list[Embedded]]:
            purchases = await self._collect(cascade, questions)
            return purchases, [] if embedder is None else await self._embed(cascade, questions, embedder)

        (rows, lost_usd), embeddings = self.runner(runtime, job)
        options = replace(self.options, tiers=",".join(t.name for t in profile.tiers))
        table = self.table(profile, lambda: enumerate((row.to_dict() for row in rows), 1), options)
        table = replace(table, set_aside_usd=table.set_aside_usd + _number(lost_usd))
        labelled, questions_asked = set(table.ids), [row.trace.question for row in rows]
        scale = token_scale(
            profile, table, [question for question in questions_asked if question.id in labelled]
        )
        if embedder is not None:
            table = with_embeddings(table, embedder, embeddings)
        return Labelled(profile, table, scale)

    def _check_prices(self, profile: Profile) -> None:
        """Refuse tiers whose prices are unknown before they are asked: nothing could be compared.

        Raises:
            UsageError: naming them, and both ways to say what they cost.
        """
        from automix_cli.data.columns import read_amounts

        own_costs = read_amounts(self.options.costs, "--costs") if self.options.costs else {}
        unknown = [
            tier.name
            for tier in profile.tiers
            if tier.list_price() is None and tier.standard_price() is None and tier.name not in own_costs
        ]
        if unknown:
            costs = ",".join(f"{name}=1" for name in unknown)
            raise UsageError(
                f"the price of {' and '.join(unknown)} is unknown, and ways of routing are compared by cost",
                hint="price: {input: 0.1, output: 0.4} under a tier says what a million tokens cost in USD\n"
                f"--costs {costs} --vote-costs {costs}   says what an answer and a vote cost",
            )

    def table(
        self, profile: Profile, rows: Callable[[], Iterator[tuple[int, Any]]], options: TableOptions
    ) -> TraceTable:
        """Numbered trace rows, judged as the profile's task says, as a table; `rows` may be called again."""
        from automix_cli.data.relative import TableReader

        all_rows = self.labels is not None
        reader = TableReader(rows, options, self.data.name, profile.task.scorer, has_all_rows=all_rows)
        table = reader.table(labels_from=self.labels_from, baseline=self.baseline, say=self.reporter.say)
        self._compare_scorers(profile, table, rows)
        return table

    def _compare_scorers(
        self, profile: Profile, table: TraceTable, rows: Callable[[], Iterator[tuple[int, Any]]]
    ) -> None:
        """Say so where nearly all answers of a tier are wrong, and another scorer finds many right."""
        from automix_cli.data.judged_answers import has_doubtful_tier, judged_answers
        from automix_cli.scoring.comparison import other_scorer

        if not has_doubtful_tier(table, profile.task.pass_score):
            return
        from automix_cli.views.scorer_words import scorer_lines

        scorer = profile.task.scorer
        self.other_scorer = other_scorer(judged_answers(rows(), table.tiers, scorer), scorer)
        for line in () if self.other_scorer is None else scorer_lines(self.other_scorer):
            self.reporter.once(line)

    # ------------------------------------------------------------ calls

    def _open(self, profile: Profile, embedder: Tier | None) -> Runtime:
        runtime = Runtime(
            profile,
            self.calls,
            note=self.reporter.once,
            detail=self.reporter.detail,
            embedder=embedder,
            budget=self.budget,
        )
        self._meters.append(runtime.meter)
        return runtime

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Say at the end, however it comes, what calls have cost; nothing where none could be made."""
        from automix_cli.views.lines import money

        try:
            yield
        finally:
            if self._meters:
                spent_usd = add_money(*(meter.spent_usd for meter in self._meters))
                self.reporter.say(f"spent {money(spent_usd)} on calls")

    def _embedder(self, profile: Profile) -> Tier | None:
        """The model of `--embed-model`, as the profile reaches it.

        Raises:
            UsageError: there is no such model, or its price is unknown: then nothing can be compared.
        """
        if self.embed_model is None:
            return None
        tier = profile.embedder(self.embed_model)
        if tier.list_price() is None:
            from automix_cli.profile.unknown_prices import embedding_price_line

            raise UsageError(
                f"the price of {tier.model} is unknown, and what a router costs is part of its worth",
                hint=f"tell it in the profile: {embedding_price_line(tier)}",
            )
        return tier

    async def _collect(self, cascade: Cascade, questions: list[Question]) -> Purchases[CollectedRow]:
        """Every tier's answers to every question, written to `--traces` as they come."""
        from automix_cli.cascade.collect import CollectedRow
        from automix_cli.cascade.vote_watch import VoteWatch
        from automix_cli.data.destination import Destination

        name, values = self.calls.profile, self._column_values()
        option = "" if name is None else f" --profile {shlex.quote(name)}"
        watch = VoteWatch(cascade.profile.verification, option)

        async def buy(cascade: Cascade, question: Question) -> CollectedRow:
            return CollectedRow(await cascade.collect(question, watch), values.get(question.id, {}))

        destination = Destination(path=self.traces, force=self.force, silent=self.traces is None)
        return await self._buy(cascade, questions, buy, destination)

    def _column_values(self) -> dict[str | int, dict[str, Json]]:
        """The values of the columns that are kept beside traces, under the columns' names, by the rows' ids.

        These are those that options name, and where traces are written also those that may be named later.
        """
        columns = {"--group": self.options.group, "--class-column": self.options.class_column}
        values = {} if self.traces is None else self.data.values_of_possible_classes()
        for option, column in columns.items():
            for ident, value in self.data.column_values(option, column).items() if column else ():
                values.setdefault(ident, {})[column or ""] = value
        return values

    async def _embed(self, cascade: Cascade, questions: list[Question], tier: Tier) -> list[Embedded]:
        """The embedding of every question; equal ones are embedded once."""
        from automix_cli.cascade.collect import Embedded
        from automix_cli.data.destination import Destination

        async def buy(cascade: Cascade, question: Question) -> Embedded:
            return Embedded(question.text, await cascade.embed(question, tier))

        different = list({q.text: q for q in questions}.values())
        return (await self._buy(cascade, different, buy, Destination(silent=True))).purchases

    async def _buy(
        self,
        cascade: Cascade,
        questions: list[Question],
        buy: Callable[[Cascade, Question], Awaitable[P]],
        destination: Destination,
    ) -> Purchases[P]:
        """Something for every question, in their order, with a bar.

        Raises:
            Exit: a signal ended the run.
            BackendError: no further call could succeed, or none did.
        """
        from automix_cli.cascade.collect import CollectJob, GivenRows

        job, rows = CollectJob(cascade, buy), GivenRows(questions)
        with row_progress(
            self.reporter, rows.total, lambda seconds: f"{len(job.purchases) / seconds:.1f} rows/s"
        ) as advance:
            ending = await job.run(rows, destination, say=self.reporter.say, on_result=lambda _: advance())
        if ending.signals:  # of a command alone: in somebody else's program they are not ours to take
            import typer

            raise typer.Exit(ending.exit_code)
        if line := job.check(ending):
            self.reporter.say(line)
        return Purchases(job.purchases, job.lost_usd)


def _number(usd: float | None) -> float:
    """Dollars as a number; NaN where they are unknown."""
    return math.nan if usd is None else usd


def profile_for_traces(calls: CallOptions) -> Profile:
    """The profile the router is for; traces can be looked at without any."""
    from automix_cli.profile.model import Profile

    try:
        return choose_profile(calls)
    except ProfileError:
        if calls.profile is not None:
            raise
        return Profile(name="none", tiers=(), origin="bundled")
