"""`automix audit`: what rows of `ask --shadow` tell of savings, losses and drift."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from automix_cli.commands import options as o
from automix_cli.commands.command import GroupedCommand, command_app
from automix_cli.views.terminal import Reporter, print_json, print_words

if TYPE_CHECKING:
    from automix_cli.evaluation.audit import Audit
    from automix_cli.profile.model import Profile


app = command_app()


@app.command("audit", cls=GroupedCommand, no_args_is_help=True)
def audit(
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS…", help="Files that automix ask wrote.")],
    profile: o.ProfileName = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="TIER",
            help="Tier to compare with [the one that was asked].",
            autocompletion=o.complete_tier,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        o.output_file("Write the rows to label to FILE, with the answers of both tiers."),
    ] = None,
    force: o.Force = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 5 where anything is no longer as it was when fitted.")
    ] = False,
    json: o.AsJson = False,
    quiet: o.Quiet = False,
    version: o.Version = False,
) -> None:
    """Tell what routing saves and loses, from rows that were compared with the baseline.

    Reads what automix ask --shadow wrote, oldest file first, and sends nothing. The share of
    rows whose answer differs from the baseline's bounds what is lost, with no label; rows that
    say what is "expected" tell how much of it is lost. The profile that wrote the rows tells
    whether votes and escalations are still as when it was fitted.

    \b
    Examples:
      automix ask -i questions.jsonl -o answers.jsonl --shadow 0.02
      automix audit answers.jsonl
      automix audit monday.jsonl tuesday.jsonl -o to-label.jsonl
    """  # noqa: D301
    from automix_cli.errors import GateError
    from automix_cli.views.audit_view import audit_dict, audit_lines

    reporter = Reporter(quiet=quiet)
    result = _audit(answers, profile, baseline, reporter)
    if output is not None:
        _write_labels(result, output, force=force, reporter=reporter)
    if json:
        print_json(audit_dict(result))
    else:
        print_words("\n".join(audit_lines(result)))
    if check and result.has_warning:
        raise GateError("the rows are no longer as they were when the router was fitted")


def _audit(
    paths: Sequence[Path], profile_name: str | None, baseline: str | None, reporter: Reporter
) -> Audit:
    """Read the rows, and compare them with the profile that wrote them, if it is at hand."""
    from automix_cli.data.answer_rows import read_answers
    from automix_cli.evaluation.audit import audit as audit_rows

    profile, own = _find_profile(profile_name), _compared_files(paths, reporter)
    left_out = tuple(str(path) for path in paths if path not in own)
    result = audit_rows(
        read_answers(own),
        baseline=baseline,
        router=None if profile is None else profile.router or {},
        scorer=None if profile is None else profile.task.scorer,
    )
    if profile is None or result.profiles == (profile.sha,):
        return replace(result, files_left_out=left_out)
    if profile_name is not None:
        reporter.say(f"profile {profile.name} did not write these rows: they are not compared with its fit")
    scorer = None if profile_name is None else profile.task.scorer
    return replace(audit_rows(read_answers(own), baseline=baseline, scorer=scorer), files_left_out=left_out)


def _compared_files(paths: Sequence[Path], reporter: Reporter) -> Sequence[Path]:
    """The files with a row that was compared, if any has one: of the others those rows say nothing."""
    from automix_cli.data.answer_rows import read_answers

    if len(paths) == 1:
        return paths
    useful = [path for path in paths if any(row.comparison for row in read_answers([path]))]
    if not useful:
        return paths
    for path in paths:
        if path not in useful:
            reporter.say(f"{path}: none of its rows was compared; it is left out")
    return useful


def _find_profile(name: str | None) -> Profile | None:
    """The profile of that name; without one, the one that `ask` would use, if there is any.

    Raises:
        ProfileError: it was named and cannot be used.
    """
    from automix_cli.api import CallOptions, choose_profile
    from automix_cli.errors import ProfileError

    try:
        return choose_profile(CallOptions(profile=name))
    except ProfileError:
        if name is not None:
            raise
        return None


def _write_labels(result: Audit, path: Path, *, force: bool, reporter: Reporter) -> None:
    """Write the rows to label, as trace rows."""
    from automix_cli.data.output import RowWriter, open_output
    from automix_cli.texts import count_of
    from automix_cli.views.audit_view import label_row

    with open_output(path, force=force) as file:
        writer = RowWriter(file, str(path))
        for row in result.to_label:
            writer.write(label_row(row, result.baseline))
    reporter.say(f"written: {path} ({count_of(len(result.to_label), 'row')} to label)")
