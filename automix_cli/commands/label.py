"""`automix label`: draw the rows whose labels tell most, and ask a person what is right there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from automix_cli.commands import options as o
from automix_cli.commands.command import GroupedCommand, command_app
from automix_cli.data.labelled import DataFile, TableOptions, read_data
from automix_cli.errors import DataError, UsageError
from automix_cli.library.option_checks import check_baseline
from automix_cli.streams import stderr, stdout
from automix_cli.texts import count_of
from automix_cli.views.terminal import Reporter, print_json, print_words, share_progress, stderr_console

if TYPE_CHECKING:
    from automix_cli.commands.label_terminal import LabelTerminal
    from automix_cli.data.label_cards import LabelSession
    from automix_cli.data.label_draw import LabelDraw
    from automix_cli.data.relative import TableReader
    from automix_cli.data.traces import TraceTable
    from automix_cli.evaluation.label_plan import LabelPlan, LossSoFar
    from automix_cli.profile.model import Profile
    from automix_cli.records import Json
    from automix_cli.views.label_view import LabelOutcome

app = command_app()

_KEEP = 0.98


@app.command("label", cls=GroupedCommand, no_args_is_help=True)
def label(
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="Traces: the answers of every tier.")],
    output: Annotated[
        Path | None,
        o.output_file("Write the rows to FILE, to be filled in; where it exists, read it back."),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            "--max", "-n", min=2, metavar="N", help="Rows to label [as many as ± 1 point should take]."
        ),
    ] = None,
    baseline: o.BaselineTier = None,
    keep: Annotated[
        float,
        typer.Option("--keep", min=0.0, max=1.0, metavar="Q", help="As in calibrate.", callback=o.finite),
    ] = _KEEP,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who labels.")] = "person",
    columns: o.ColumnMap = None,
    tiers: o.PickTiers = None,
    costs: o.Costs = None,
    vote_costs: o.VoteCosts = None,
    group: o.GroupColumn = None,
    profile: o.ProfileName = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.AsJson = False,
    quiet: o.Quiet = False,
    version: o.Version = False,
) -> None:
    """Label the rows that tell most of what routing loses.

    Where a tier's answer is equal to the baseline's nothing is lost, so only rows on which
    answers differ are chosen, and most of all those that the policy would report. Each is
    drawn with a chance that is written beside it: no top rows, which prove nothing. Some more
    are drawn from all rows alike. In a terminal, each is shown with its answers in random
    order, without names, and one key labels it; every label is on disk at once, and the same
    command goes on where it was left. Nothing is sent.

    \b
    Examples:
      automix label rows.jsonl -n 28
      automix calibrate rows.jsonl --labels rows.labels.jsonl --baseline large
      automix label rows.jsonl -o to-label.jsonl   # fill it in, then again
      automix label rows.jsonl -n 28 > to-label.jsonl
    """  # noqa: D301
    reporter = Reporter(quiet=quiet)
    job = _LabelJob(
        data=read_data(rows, columns, reporter.say),
        options=TableOptions(tiers=tiers, costs=costs, vote_costs=vote_costs, group=group),
        output=output,
        most=most,
        baseline=baseline,
        keep=keep,
        by=by,
        profile_name=profile,
        seed=seed,
        force=force,
        json=json,
        reporter=reporter,
    )
    job.run()


class _LabelJob(Struct, frozen=True, kw_only=True):
    """What is to be labelled, and where labels go."""

    data: DataFile
    options: TableOptions
    output: Path | None
    most: int | None
    baseline: str | None
    keep: float
    by: str
    profile_name: str | None
    seed: int
    force: bool
    json: bool
    reporter: Reporter

    def run(self) -> None:
        """Draw; then show the rows, or write them."""
        path = self.output or Path(f"{Path(self.data.name).stem}.labels.jsonl")
        if path.exists() and Path(self.data.name).exists() and path.samefile(self.data.name):
            raise UsageError(f"{path}: is the file of the rows itself", hint="-o names another file")
        profile, is_new = self._profile(), self.force or not path.exists()
        in_terminal = self.output is None and not self.json and _is_terminal()
        plan = self._plan(profile, shows_first=is_new and in_terminal)
        if self.most is None and is_new and self._is_settled(plan, path):
            return
        if self.output is None and not in_terminal:
            self._print_rows(plan, profile)
            return
        self._label(plan, profile, path, in_terminal=in_terminal)

    def _profile(self) -> Profile:
        from automix_cli.api import CallOptions
        from automix_cli.library.trace_source import profile_for_traces

        return profile_for_traces(CallOptions(profile=self.profile_name))

    def _reader(self, profile: Profile, labels: Path | None = None) -> TableReader:
        from automix_cli.data.label_file import LabelsOfRows, labelled_rows
        from automix_cli.data.relative import TableReader

        own = LabelsOfRows("", {}) if labels is None else LabelsOfRows.read(labels)
        rows, options = labelled_rows(self.data, self.options, own)
        return TableReader(rows, options, self.data.name, profile.task.scorer)

    def _plan(self, profile: Profile, *, shows_first: bool) -> LabelPlan:
        """The policy on rows held out; for a new draw in a terminal a row of it is shown meanwhile.

        Raises:
            DataError: no row is left to label.
        """
        from automix_cli.evaluation.label_plan import LabelPlan
        from automix_cli.evaluation.objective import Objective
        from automix_cli.profile.router import settings_of

        table = self._reader(profile).table_beside(self.baseline, say=self.reporter.say)
        own = table.without_short_rows(profile.verification.max_votes)[0]
        check_baseline(self.baseline, own.tiers)
        if own.relative is None or own.relative.has_label.all():
            raise DataError(f"{self.data.name}: every row has a label")
        self.reporter.say(
            f"fitting a policy on {len(own):,} rows, and running it on rows held out, to find the rows whose "
            "labels tell most …"
        )
        if shows_first:
            self._show_first(own, profile)
        with share_progress(self.reporter, "fitting") as advance:
            return LabelPlan.of(own, settings_of(profile), Objective("keep", self.keep), self.seed, advance)

    def _show_first(self, table: TraceTable, profile: Profile) -> None:
        """Show the row that is drawn whatever the policy reports, to be read while that is fitted."""
        from automix_cli.commands.label_terminal import show_card
        from automix_cli.data.label_cards import AnswerCard
        from automix_cli.data.label_draw import first_at_random
        from automix_cli.data.label_file import has_judgement
        from automix_cli.views.label_view import card_text

        ident = table.ids.tolist()[first_at_random(table.ids.tolist(), self.seed)]
        row = {"id": ident, **self._rows_by_id()[str(ident)]}
        if self.reporter.shows_progress and not has_judgement(row):
            text = card_text(AnswerCard.of(row, profile.task.scorer, self.seed), whole=False)
            show_card(stderr_console(), "the first row, to be read meanwhile", text)

    def _is_settled(self, plan: LabelPlan, path: Path) -> bool:
        """Say so where no label could change the loss on these rows: then none is to be drawn."""
        from automix_cli.views.label_view import nothing_lines, settled_dict, settles_nothing

        if not settles_nothing(plan):
            return False
        for line in nothing_lines(plan, "" if self.output is None else str(path)):
            self.reporter.say(line)
        if self.json and self.output is not None:  # without a file stdout is for rows, and there are none
            print_json(settled_dict(plan))
        return True

    def _rows(self, plan: LabelPlan, draw: LabelDraw) -> list[Json]:
        """The rows of a draw."""
        from automix_cli.data.label_file import rows_to_label

        return rows_to_label(self._rows_by_id(), plan.table.ids.tolist(), draw)

    def _rows_by_id(self) -> dict[str, Any]:
        """All rows of the file, by their ids as text."""
        from automix_cli.data.rows import value_of

        own: dict[str, Any] = {}
        for index, (_, row) in enumerate(self.data.numbered_rows()):
            ident = value_of(row, "id")
            own[str(index if ident is None else ident)] = row
        return own

    def _print_rows(self, plan: LabelPlan, profile: Profile) -> None:
        """Write the rows of a new draw to stdout."""
        from automix_cli.views.label_view import plan_lines

        draw = plan.draw(self.most or plan.proposal(self.seed), self.seed)
        for line in plan_lines(plan, draw, profile.task.scorer, "", self.most):
            self.reporter.say(line)
        for row in self._rows(plan, draw):
            print_json(row)

    def _label(self, plan: LabelPlan, profile: Profile, path: Path, *, in_terminal: bool) -> None:
        """Write the rows to a file or go on with one that is there; in a terminal, label them."""
        from automix_cli.commands.label_terminal import LabelTerminal
        from automix_cli.data.label_cards import LabelSession
        from automix_cli.data.label_file import LabelFile, lock_labels
        from automix_cli.views.label_view import labelled_policy, plan_lines, progress_line

        with lock_labels(path):
            draw, rows, is_new = self._open(plan, path)
            for line in plan_lines(plan, draw, profile.task.scorer, str(path), self.most):
                self.reporter.say(line)
            file = LabelFile(path, rows)
            if is_new:
                file.write()
            progress = _Progress(plan, draw, file, profile.task.scorer)
            if in_terminal:
                session = LabelSession(file, profile.task.scorer, self.seed, self.by)
                baseline, policy = str(plan.table.beside), labelled_policy(plan)

                def line_of() -> str:
                    return progress_line(
                        session.n_done, len(rows), len(plan.table), baseline, progress.so_far(), policy
                    )

                self._loop(LabelTerminal(session, line_of), session, path)
            self._show(self._outcome(plan, profile, progress, path))

    def _loop(self, terminal: LabelTerminal, session: LabelSession, path: Path) -> None:
        """Label in the terminal; an end before the last row says how to go on."""
        n = len(session.file.rows)
        try:
            terminal.run()
        except KeyboardInterrupt:
            state = f"{session.n_done} of {count_of(n, 'row')} done in {path}"
            self.reporter.say(f"\ninterrupted: {state}; the same command goes on")
            raise
        if session.n_done < n:
            self.reporter.say(f"rows are left in {path}; the same command goes on")

    def _open(self, plan: LabelPlan, path: Path) -> tuple[LabelDraw, list[Json], bool]:
        """The draw, its rows, and whether they are to be written: those of a file that is there, or more.

        Raises:
            DataError: the file's rows are not those of such a draw.
            UsageError: fewer rows are wanted than it holds.
        """
        from automix_cli.data.label_file import add_rows, is_drawn_alike
        from automix_cli.data.label_reader import read_labels

        if self.force or not path.exists():
            draw = plan.draw(self.most or plan.proposal(self.seed), self.seed)
            return draw, self._rows(plan, draw), True
        labels = read_labels(path)
        if note := labels.note():
            self.reporter.say(note)
        self._check_rows(path)
        earlier = list(labels.rows)
        parts = [row["drawn"] for row in earlier]
        n_chosen, n_random = (sum(part in (name, "both") for part in parts) for name in ("chosen", "random"))
        draw = plan.draw_parts(n_chosen, n_random, self.seed)
        if not is_drawn_alike(earlier, self._rows(plan, draw)):
            raise DataError(
                f"{path}: its rows were drawn from other rows, or with other options",
                hint="the options of the first time go on with it, -o names another file, --force draws anew",
            )
        more = draw if self.most is None else plan.draw(self.most, self.seed)
        if len(more.by_weight) < n_chosen or len(more.random) < n_random:
            raise UsageError(f"{path}: holds more rows to label than {self.most}", hint="leave out -n")
        if len(more.order) == len(draw.order):
            return draw, earlier, False
        return more, add_rows(earlier, self._rows(plan, more)), True

    def _check_rows(self, path: Path) -> None:
        """Refuse labels of other questions or answers before more are given."""
        from automix_cli.data.label_file import LabelsOfRows, labelled_rows

        rows, _ = labelled_rows(self.data, self.options, LabelsOfRows.read(path))
        for _ in rows():
            pass

    def _outcome(self, plan: LabelPlan, profile: Profile, progress: _Progress, path: Path) -> LabelOutcome:
        """What the labels settle, as calibrate will read them."""
        from automix_cli.evaluation.bootstrap import Resamples
        from automix_cli.evaluation.loss import loss_of
        from automix_cli.views.label_view import LabelOutcome, labelled_policy

        table = self._reader(profile, path).table_beside(self.baseline, say=lambda text: None)
        table = table.without_short_rows(profile.verification.max_votes)[0]
        loss = None
        if plan.run is not None:
            score = (plan.reports * table.worth).sum(axis=1)
            loss = loss_of(
                table, plan.run._replace(score=score), Resamples.of_table(table, self.seed), self.seed
            )
        rows = progress.file.rows
        return LabelOutcome(
            baseline=str(plan.table.beside),
            n_rows=len(plan.table),
            n=len(rows),
            n_labelled=len(progress.scores()),
            n_skipped=len(progress.skips()),
            so_far=progress.so_far(),
            loss=loss,
            right=progress.right(),
            command=self._command(str(plan.table.beside), path),
            policy=labelled_policy(plan),
        )

    def _command(self, baseline: str, path: Path) -> str:
        """What uses the labels, with the options that this command was given."""
        name = "-" if self.data.name == "stdin" else self.data.name
        own = {
            "--labels": str(path),
            "--baseline": baseline,
            "--keep": None if self.keep == _KEEP else f"{self.keep:g}",
            "--profile": self.profile_name,
            "--columns": None if self.data.columns is None else self.data.columns.text,
            "--tiers": self.options.tiers,
            "--costs": self.options.costs,
            "--vote-costs": self.options.vote_costs,
            "--group": self.options.group,
        }
        words = [word for option, value in own.items() if value is not None for word in (option, value)]
        return shlex.join(["automix", "calibrate", name, *words])

    def _show(self, outcome: LabelOutcome) -> None:
        from automix_cli.views.label_view import outcome_dict, outcome_lines

        if self.json:
            print_json(outcome_dict(outcome))
        else:
            print_words("\n".join(outcome_lines(outcome)))


class _Progress:
    """What the labels of a file settle at any moment."""

    def __init__(self, plan: LabelPlan, draw: LabelDraw, file: Any, scorer: str) -> None:
        self.plan, self.draw, self.file, self.scorer = plan, draw, file, scorer
        self._places = {str(ident): place for place, ident in enumerate(plan.table.ids)}

    def scores(self) -> dict[int, Any]:
        """The scores of each labelled row, by its place in the table."""
        from automix_cli.data.label_file import scores_of

        scores = {
            self._places[str(row["id"])]: scores_of(row, self.plan.table.tiers, self.scorer)
            for row in self.file.rows
        }
        return {place: own for place, own in scores.items() if own is not None}

    def so_far(self) -> LossSoFar:
        """What they settle of the loss on the rows of the file."""
        return self.plan.so_far(self.draw, self.scores(), self.skips())

    def skips(self) -> list[int]:
        """The places of the rows that somebody could not tell."""
        from automix_cli.data.label_file import has_judgement

        rows = self.file.rows
        own = (row for row in rows if row.get("skipped") and not has_judgement(row))
        return [self._places[str(row["id"])] for row in own]

    def right(self) -> dict[str, tuple[int, int]]:
        """On how many rows of the random part each tier is right, and of how many."""
        random = set(self.draw.random.tolist())
        own = [scores for place, scores in self.scores().items() if place in random]
        tiers = self.plan.table.tiers
        return {tier: (sum(bool(s[k] >= 0.5) for s in own), len(own)) for k, tier in enumerate(tiers)}


def _is_terminal() -> bool:
    """Whether a person can see rows and press keys."""
    out, err = stdout(), stderr()
    return bool(out and out.isatty() and err and err.isatty() and sys.stdin and sys.stdin.isatty())
