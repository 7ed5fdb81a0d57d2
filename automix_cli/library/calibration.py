"""What `calibrate` does: read or collect the rows, fit, measure, and write the router."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from automix_cli.data.labelled import DataFile
from automix_cli.errors import GateError, UsageError
from automix_cli.fitting.query_router_kinds import ClassChoice, WrittenKind
from automix_cli.library.calibrate_files import (
    FitLabels,
    check_replacement,
    router_file,
    router_file_or_refusal,
    use_option,
    ways_to_names,
    why_not_written,
    with_origin,
    written_words,
)
from automix_cli.library.certificate_errors import check_certificate, no_certificate
from automix_cli.library.option_checks import check_baseline, check_keep
from automix_cli.library.scorer_check import check_scorer
from automix_cli.library.trace_source import FREE_NOTE, Labelled, TraceSource, check_embed_model, is_free
from automix_cli.texts import count_of
from automix_cli.views.terminal import Reporter, share_progress

if TYPE_CHECKING:
    from automix_cli.data.traces import TraceTable
    from automix_cli.evaluation.calibrate import Calibration
    from automix_cli.evaluation.objective import Objective
    from automix_cli.fitting.classes import Classes
    from automix_cli.profile.model import Profile
    from automix_cli.views.calibration_view import CalibrationView


class CalibrationJob(Struct, frozen=True, kw_only=True):
    """What is wanted of a calibration, and where it goes.

    `writes`: a router is written, to `output`, else to the profile's own file or automix.yaml;
    `tells_ways`: what to do where the profile has other tiers is told; `force`: a router that was fitted on
    labels may be replaced by one that saw none, and one is written although no answer is right.
    """

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
    writes: bool
    tells_ways: bool
    reporter: Reporter
    force: bool = False

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
            check_baseline(self.baseline, [tier.name for tier in live.tiers])
            if self.writes:
                target = router_file(self.output, live, [tier.name for tier in live.tiers])
                questions = source.questions()
                labels = sum(bool(question.expected) for question in questions)
                self._check_replacement(
                    target, FitLabels(len(questions), labels, source.labels_from or self.baseline)
                )

    def run(self, source: TraceSource, show: Callable[[CalibrationView], None]) -> None:
        """Fit, measure, show and write.

        Raises:
            GateError: no answer is right, no router could be certified, or the objective was not met.
        """
        from automix_cli.data.recorded_signals import with_recorded
        from automix_cli.profile.router import check_signal
        from automix_cli.views.calibration_view import CalibrationView

        if not self.value_of_time:
            source.note_free()
        labelled = source.read()
        profile, table, _ = labelled
        if is_free(table) and not self.value_of_time:
            self.reporter.once(FREE_NOTE)
        if self.query_router != "none":
            from automix_cli.data.near_copies import join_near_copies

            table = join_near_copies(table)
        check_baseline(self.baseline, table.tiers)
        check_keep(self.objective.value if self.objective.kind == "keep" else None, table.beside)
        if self.writes and not self.force:
            check_scorer(table, profile.task.pass_score, source.other_scorer)
        target, refusal = self._file(profile, table)
        if (note := self._check_replacement(target, _fit_labels(table))) != "":
            self.reporter.say(note)
        result = self._calibrate(table, target, profile)
        if result.signal is not None:
            table = with_recorded(table, result.signal.name)
        show(CalibrationView(result, table, source.data.name, self.baseline or table.beside))
        if refusal is not None:
            raise refusal
        if result.certificate is not None and not result.is_certified:
            raise no_certificate(result.certificate, table.grouping)
        if target is not None:
            if result.router()["kind"] != "always":
                check_signal(profile, table.signal_name)
            self._write(result, target, source.data, labelled)
        elif self.writes:
            self.reporter.say(why_not_written(profile, table.tiers))
            for line in ways_to_names(profile, table.tiers).splitlines() if self.tells_ways else ():
                self.reporter.say(f"  {line}")
        if not result.choice.is_met:
            raise GateError(
                "no setting meets the objective on these rows",
                hint="ask for less, or add a tier that is better",
            )

    def _calibrate(self, table: TraceTable, target: Path | None, profile: Profile) -> Calibration:
        """Fit and measure; with `--certify`, what is measured is what can be promised."""
        from automix_cli.evaluation.calibrate import calibrate as run_calibration
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
        from automix_cli.evaluation.certificate import certify
        from automix_cli.evaluation.certified import with_certificate

        proof = certify(table, settings, keep=self.objective.value, confidence=self.certify, seed=self.seed)
        return with_certificate(result, table, proof, self.seed)

    def _file(self, profile: Profile, table: TraceTable) -> tuple[Path | None, UsageError | None]:
        """The file to write, or why it cannot be."""
        return router_file_or_refusal(self.output, profile, table.tiers) if self.writes else (None, None)

    def _check_replacement(self, target: Path | None, evidence: FitLabels) -> str:
        """Refuse to replace a router of labels by one without; returns what is said of other cases."""
        return "" if target is None else check_replacement(target, evidence, force=self.force)

    def _write(self, result: Calibration, target: Path, data: DataFile, labelled: Labelled) -> None:
        from automix_cli.profile.write import write_router

        extra = {"token_scale": labelled.token_scale, "value_of_time": self.value_of_time or None}
        own = _fit_labels(labelled.table)
        labels = own.labels if own.labels > 0 and own.beside else None
        options = {"labels_from": own.beside, "labels": labels, "baseline": self.baseline}
        block = with_origin(result.router(), data, labelled.profile, options, extra)
        write_router(target, block, profile=labelled.profile)
        self.reporter.say(f"written: {written_words(result, target)}")
        self.reporter.say(f'use it: automix ask{use_option(target, labelled.profile)} "…"')


def _fit_labels(table: TraceTable) -> FitLabels:
    """What a router of this table is fitted on."""
    if table.relative is None:
        return FitLabels(len(table), len(table))
    return FitLabels(len(table), int(table.relative.has_label.sum()), table.beside)


def objective_of(
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


def router_to_fit(query_router: ClassChoice, kind: WrittenKind) -> ClassChoice:
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
    if query_router == "none":
        return
    from automix_cli.fitting.fit_query_router import require_sklearn

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
