"""The comparison as a Markdown report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from automix_cli.evaluation.bench import PolicyOutcome
from automix_cli.evaluation.measures import DISPLAY_ORDER, MEASURE_BY_KEY, MEASURES, MeasureSpec
from automix_cli.evaluation.settings import setting_text
from automix_cli.views.against_words import against_markdown, escape_markdown
from automix_cli.views.bench_view import BenchView
from automix_cli.views.cells import NO_VALUE, behind_text, falls_short, value_text, value_with_interval
from automix_cli.views.lines import one_line


def report_markdown(view: BenchView) -> str:
    """The whole report."""
    lines = [
        *("# Comparison of routing policies", ""),
        *(text for line in view.payer_lines() for text in (line, "")),
        *(f"**{view.sentence()}**", "", view.head(), ""),
        *_against(view),
        *(f"![Cost against {view.measure}](frontier.svg)", ""),
        *_policies(view),
        *("", f"Every figure is on held-out rows, with a 95 % paired-bootstrap interval{_widths(view)}.", ""),
        *(f"- *{view.words(spec.key)}*: {view.words(spec.definition)}" for spec in MEASURES),
        *("", *(f"- {note}" for note in view.remarks())),
        *_datasets(view),
    ]
    return "\n".join(lines) + "\n"


def job_summary(view: BenchView, shortfalls: Sequence[str]) -> str:
    """A short report for the page of a CI job: verdict, gates, and the chosen settings.

    Args:
        view: the comparison.
        shortfalls: the gates of this run alone that are not met, a sentence each.
    """
    keys = ("quality", "cost", "escalated", "votes")
    specs = [MEASURE_BY_KEY[key] for key in keys]
    lines = [
        *(f"### automix bench: {escape_markdown(view.source)}", ""),
        *(text for line in view.payer_lines() for text in (line, "")),
        *(f"**{view.sentence()}**", ""),
        *(f"- ❌ {escape_markdown(line)}" for line in shortfalls),
        *([""] if shortfalls else []),
        *_against(view),
        _row(["policy", "setting", *(view.words(spec.title) for spec in specs)]),
        "|---|---|" + "--:|" * len(specs),
        *(
            _row([o.name, setting_text(o.choices[0].setting), *(_cell(spec, o) for spec in specs)])
            for group in (view.by_kind().baselines, view.by_kind().policies)
            for o in group
        ),
        "",
        view.head(),
    ]
    return "\n".join(lines) + "\n"


def _against(view: BenchView) -> list[str]:
    """The comparison with an earlier run, if there is one."""
    return [] if view.against is None else [*against_markdown(view.against), ""]


def _widths(view: BenchView) -> str:
    """Say how wide intervals are where only some rows have a label."""
    if not view.table.has_some_labels:
        return ""
    return ", as wide as the labels behind it tell, and left out where these are too few (?)"


def _policies(view: BenchView) -> Iterator[str]:
    """A row per policy."""
    specs = [spec for spec in DISPLAY_ORDER if spec.markdown != "no"]
    yield _row(["policy", "setting", *(view.words(spec.title) for spec in specs)])
    yield "|---|---|" + "--:|" * len(specs)
    for group in view.by_kind():
        for o in group:
            yield _row([o.name, setting_text(o.choices[0].setting), *(_cell(spec, o) for spec in specs)])


def _cell(spec: MeasureSpec, o: PolicyOutcome) -> str:
    write = value_with_interval if spec.markdown == "interval" else value_text
    text = NO_VALUE if falls_short(spec, o.measures) else write(spec, o.measures[spec.key])
    behind = behind_text(spec, o.measures)
    return f"{text}, reaching {behind}" if behind else text


def _datasets(view: BenchView) -> Iterator[str]:
    """The policy of the verdict, a row per dataset."""
    ours = view.comparison.outcome(view.comparison.headline)
    if not ours.slices:
        return
    specs = [spec for spec in MEASURES if spec.by_dataset]
    yield from ("", f"## {ours.name}, by dataset", "")
    yield _row(["dataset", *(view.words(spec.title) for spec in specs)])
    yield "|---|" + "--:|" * len(specs)
    for name, part in ours.slices.items():
        yield _row([one_line(name), *(value_with_interval(spec, part[spec.key]) for spec in specs)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
