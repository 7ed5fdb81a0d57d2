"""`calibrate` and `bench` for Python programs: rows or a file in, the object that `--json` prints out."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast, get_args

from msgspec.structs import replace

from automix_cli.data.jsonl import dumps
from automix_cli.data.labelled import DataFile, TableOptions, read_data
from automix_cli.errors import GateError, UsageError, did_you_mean
from automix_cli.fitting.query_router_kinds import ClassChoice, PriorChoice, WrittenKind
from automix_cli.library.calibration import CalibrationJob, objective_of, router_to_fit
from automix_cli.library.comparison import BenchJob, bench_objective, reads_samples
from automix_cli.library.gating import Gating
from automix_cli.library.session import OpenProfile
from automix_cli.library.trace_source import FREE_NOTE, TraceSource, is_free
from automix_cli.records import Json
from automix_cli.views.terminal import Reporter

LabelledData: TypeAlias = "str | os.PathLike[str] | Iterable[Mapping[str, Any]]"
"""LabelledData questions or traces: a file, or rows as they stand in one."""


ObjectiveChoice: TypeAlias = Literal["keep", "ibc"]


class RowOptions(TypedDict, total=False):
    """The options that say how rows are read, and what they are compared with; as on the command line."""

    columns: str | None
    tiers: str | None
    costs: str | None
    vote_costs: str | None
    drop_incomplete: bool
    group: str | None
    class_column: str | None
    signal: str | None
    labels: str | os.PathLike[str] | None
    traces: str | os.PathLike[str] | None
    labels_from: str | None
    baseline: str | None
    embed_model: str | None
    keep: float | None
    sure: float
    budget: float | None
    seed: int
    folds: int


class CalibrateOptions(RowOptions, total=False):
    """The options of `calibrate`; without `output`, nothing is written."""

    output: str | os.PathLike[str] | None
    cost_weight: float | None
    objective: ObjectiveChoice
    certify: float | None
    query_router: ClassChoice
    kind: WrittenKind
    value_of_time: float


class BenchOptions(RowOptions, total=False):
    """The options of `bench`."""

    policies: str
    split: float | None
    repeat: int
    query_router: PriorChoice
    against: str | os.PathLike[str] | None
    fail_under: str | None
    require_proof: bool


_OPTION_BOUNDS: Mapping[str, tuple[float, float]] = {
    "keep": (0, 2),
    "sure": (0.5, 0.99),
    "budget": (0, math.inf),
    "cost_weight": (0, math.inf),
    "certify": (0.5, 0.999),
    "value_of_time": (0, math.inf),
    "split": (0, 0.99),
    "repeat": (1, 1000),
}


def _present(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options but for those that are None, which stands for the default."""
    return {name: value for name, value in options.items() if value is not None}


def check_names(call: str, options: Iterable[str], names: Collection[str]) -> None:
    """Refuse options that there are not.

    Raises:
        TypeError: as Python does, with the nearest name.
    """
    for name in options:
        if name not in names:
            raise TypeError(f"{call}() has no option {name!r}{did_you_mean(name, names)}")


def check_values(
    options: Mapping[str, Any], bounds: Mapping[str, tuple[float, float]], choices: Mapping[str, object]
) -> None:
    """Refuse numbers out of bounds, and words that are no choice.

    Raises:
        UsageError: naming the option, and what it takes.

    Example:
        >>> check_values({"keep": 3}, {"keep": (0, 2)}, {})
        Traceback (most recent call last):
        automix_cli.errors.UsageError: keep: expected a number from 0 to 2, got 3
    """
    for name in options.keys() & bounds.keys():
        value, (low, high) = options[name], bounds[name]
        if not (isinstance(value, int | float) and _is_within(value, low, high)):
            limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
            raise UsageError(f"{name}: expected a number {limits}, got {value!r}")
    for name in options.keys() & choices.keys():
        words = get_args(choices[name])
        if options[name] not in words:
            raise UsageError(f"{name}: expected one of {', '.join(words)}, got {options[name]!r}")


def _is_within(value: float, low: float, high: float) -> bool:
    return math.isfinite(value) and low <= value <= high


class NoteReporter(Reporter):
    """Hands what a person should know to the callback of a profile that is open."""

    __slots__ = ("_session",)

    def __init__(self, session: OpenProfile) -> None:
        super().__init__(quiet=True)
        self._session = session

    def say(self, text: str) -> None:
        """Pass a line on."""
        self._session.note(text)


def calibrate_rows(session: OpenProfile, data: LabelledData, options: CalibrateOptions) -> dict[str, Json]:
    """Learn the router; see `Automix.calibrate`."""
    choices = {"query_router": ClassChoice, "kind": WrittenKind, "objective": ObjectiveChoice}
    session.check()
    options = cast(CalibrateOptions, _present(options))
    check_names("calibrate", options, CalibrateOptions.__optional_keys__)
    check_values(options, {**_OPTION_BOUNDS, "folds": (3, 20)}, choices)
    output, reporter = options.get("output"), NoteReporter(session)
    job = CalibrationJob(
        objective=objective_of(
            options.get("keep"),
            options.get("sure", 0.8),
            options.get("budget"),
            options.get("cost_weight"),
            options.get("objective", "keep"),
            options.get("certify"),
        ),
        certify=options.get("certify"),
        query_router=router_to_fit(options.get("query_router", "none"), options.get("kind", "pomdp")),
        kind=options.get("kind", "pomdp"),
        class_column=options.get("class_column"),
        signal=options.get("signal"),
        embed_model=options.get("embed_model"),
        baseline=options.get("baseline"),
        value_of_time=options.get("value_of_time", 0.0),
        folds=options.get("folds", 5),
        seed=options.get("seed", 0),
        output=None if output is None else Path(output),
        writes=output is not None,
        tells_ways=False,
        reporter=reporter,
        force=True,  # the caller names the file, and is told
    )
    job.check()
    source = _source(session, data, options, TableOptions(), reporter)
    job.check_certificate(source)
    job.check_live(source)
    objects: list[dict[str, Json]] = []
    with _report(objects), source.spending():
        job.run(source, lambda view: objects.append(view.to_dict()))
    return objects[0]


@contextmanager
def _report(objects: list[dict[str, Json]]) -> Iterator[None]:
    """Give a gate that is not met the object that would have been returned."""
    try:
        yield
    except GateError as exc:
        exc.report = objects[0] if objects else None
        raise


def bench_rows(session: OpenProfile, data: LabelledData, options: BenchOptions) -> dict[str, Json]:
    """Compare policies; see `Automix.bench`."""
    from automix_cli.profile.router import settings_of
    from automix_cli.views.bench_files import summary

    session.check()
    options = cast(BenchOptions, _present(options))
    check_names("bench", options, BenchOptions.__optional_keys__)
    check_values(options, {**_OPTION_BOUNDS, "folds": (2, 20)}, {"query_router": PriorChoice})
    policies, reporter = options.get("policies", "all"), NoteReporter(session)
    against = options.get("against")
    gates = Gating.read(
        options.get("fail_under"),
        None if against is None else Path(against),
        needs_proof=options.get("require_proof", False),
        summary=None,
    )
    job = BenchJob(
        policies=policies,
        query_router=options.get("query_router", "multilabel"),
        class_column=options.get("class_column"),
        signal=options.get("signal"),
        split=options.get("split"),
        repeat=options.get("repeat", 1),
        seed=options.get("seed", 0),
        folds=options.get("folds", 5),
        objective=bench_objective(options.get("keep"), options.get("sure", 0.8), options.get("budget")),
        labels_from=options.get("labels_from"),
        baseline=options.get("baseline"),
        embed_model=options.get("embed_model"),
        reporter=reporter,
    )
    job.check()
    judges = TableOptions(judge_samples=reads_samples(policies))
    source = _source(session, data, options, judges, reporter)
    if not source.is_recorded:
        gates.check_policies(job.check_tiers(source.profile()))
        gates.check_questions(source.group_questions)
    objects: list[dict[str, Json]] = []
    with _report(objects), source.spending():
        profile, table, _ = source.read()
        settings = settings_of(profile)
        if is_free(table) and not settings.value_of_time:
            reporter.say(FREE_NOTE)
        view = gates.compare(
            job.compare(table, settings, source.data, gates.least_runs("none"), gates.take())
        )
        objects.append(summary(view))
        gates.check(view, reporter.say)
    return objects[0]


def _source(
    session: OpenProfile, data: LabelledData, options: RowOptions, table: TableOptions, reporter: Reporter
) -> TraceSource:
    """Where the rows come from; the calls for them run beside the others, within the same budget."""
    traces, labels = options.get("traces"), options.get("labels")
    return TraceSource(
        data=data_of(data, options.get("columns"), reporter),
        options=replace(
            table,
            tiers=options.get("tiers"),
            costs=options.get("costs"),
            vote_costs=options.get("vote_costs"),
            drop_incomplete=options.get("drop_incomplete", False),
            group=options.get("group"),
            class_column=options.get("class_column"),
            signal=options.get("signal"),
        ),
        calls=session.options,
        reporter=reporter,
        traces=None if traces is None else Path(traces),
        labels_from=options.get("labels_from"),
        labels=None if labels is None else Path(labels),
        baseline=options.get("baseline"),
        force=False,
        embed_model=options.get("embed_model"),
        own_profile=session.profile,
        budget=session.budget,
        runner=session.run,
    )


def data_of(data: LabelledData, columns: str | None, reporter: Reporter) -> DataFile:
    """The rows of a file, or rows that are given, as if a file held them.

    Raises:
        DataError: they cannot be read.
        UsageError: `columns` is no mapping, or stdin is named.
    """
    from automix_cli.data.columns import read_columns

    if isinstance(data, str | os.PathLike):
        if os.fspath(data) == "-":
            raise UsageError("- would be stdin, which belongs to the program")
        return read_data(Path(data), columns, reporter.say)
    content = "".join(f"{dumps(dict(row))}\n" for row in data).encode()
    mapping = None if columns is None else read_columns(columns)
    return DataFile("rows", content, columns=mapping).with_places()
