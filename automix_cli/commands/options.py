"""Options that several commands share, each declared once."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from automix_cli.errors import UsageError
from automix_cli.streams import stderr


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from automix_cli import __version__

        typer.echo(f"automix {__version__}")
        raise typer.Exit()


def show_help(ctx: typer.Context, lacking: str) -> NoReturn:
    """Show how a command is used; without a terminal, say what it lacks as well.

    Raises:
        Exit: always, with code 2.
    """
    from automix_cli.data.jsonl import stdin_kind

    typer.echo(ctx.get_help(), file=stderr())
    if stdin_kind() == "none":
        typer.echo(f"\nautomix: {lacking}, and stdin is empty", file=stderr())
    raise typer.Exit(2)


def _stdout_for_dash(path: Path | None) -> Path | None:
    """`-` is stdout, which is where rows go without a file."""
    return None if str(path) == "-" else path


def not_stdout(param: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse `-` where stdout cannot be meant.

    Raises:
        UsageError: naming the option.
    """
    if str(path) == "-":
        raise UsageError(f"{param.opts[-1]}: expected a {param.metavar}; - would be stdout")
    return path


def output_file(purpose: str) -> Any:
    """The option `-o FILE` of a command whose stdout is for something else."""
    return typer.Option("--output", "-o", metavar="FILE", help=purpose, callback=not_stdout)


def finite(param: typer.CallbackParam, value: float | None) -> float | None:
    """Refuse NaN and infinity, which pass every bound.

    Raises:
        UsageError: naming the option.
    """
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{param.opts[0]}: expected a finite number, got {value}")
    return value


def complete_profile(incomplete: str) -> list[str]:
    """The profiles that a word may begin: bundled ones, and YAML files of the folder that it names.

    Example:
        >>> complete_profile("dem")
        ['demo']
    """
    from automix_cli.profile.bundled import bundled_names

    return [name for name in (*bundled_names(), *complete_file(incomplete)) if name.startswith(incomplete)]


def complete_file(incomplete: str) -> list[str]:
    """The YAML files that a word may begin, in the folder that it names.

    Example:
        >>> complete_file("no-such-folder/a")
        []
    """
    folder, slash, name = incomplete.rpartition("/")
    head = f"{folder}{slash}" or ("" if name else "./")
    try:
        files = sorted(path.name for path in Path(head or ".").glob("*.yaml"))
    except OSError:
        return []
    return [f"{head}{own}" for own in files if own.startswith(name)]


def complete_tier(ctx: typer.Context, incomplete: str) -> list[str]:
    """The tiers of the profile that the line names, or that would be used; none where it cannot be read."""
    from automix_cli.errors import AutomixError
    from automix_cli.profile.search import load_profile

    try:
        names = [tier.name for tier in load_profile(ctx.params.get("profile")).tiers]
    except AutomixError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_policies(incomplete: str) -> list[str]:
    """The policies that the last name of a list may begin.

    Example:
        >>> complete_policies("threshold,orac")
        ['threshold,oracle']
    """
    from automix_cli.commands.completion import WORD_HEAD, ends_of
    from automix_cli.evaluation.policies import all_policies

    head, comma, _ = f"{os.environ.get(WORD_HEAD, '')}{incomplete}".rpartition(",")
    before = head.split(",") if head else []
    names = [*([] if before else ["all"]), *(entry.name for entry in all_policies(()))]
    return ends_of([f"{head}{comma}{name}" for name in names if name not in before], incomplete)


ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        metavar="NAME|FILE",
        help="Profile to use: a bundled name or a YAML file.",
        autocompletion=complete_profile,
    ),
]
Tiers = Annotated[
    str | None,
    typer.Option("--tiers", metavar="A,B", help="Models, cheapest first, instead of a profile."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Use an empty cache that is thrown away.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Pay again, and replace what the cache holds.")]
Offline = Annotated[bool, typer.Option("--offline", help="Answer from the cache only; send nothing.")]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", "-j", min=1, max=1024, metavar="N", help="Questions in flight at once."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost", min=0.0, metavar="USD", help="Never spend more than this; other rows are skipped."
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=0, metavar="N", help="Only the first N rows.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep the finished rows of -o FILE; do the others.")]
OnBudget = Annotated[
    Literal["stop", "degrade"],
    typer.Option(
        "--on-budget", help="At the cap: skip other rows, or ask only the cheapest tier, unverified."
    ),
]
Input = Annotated[
    Path | None,
    typer.Option("--input-file", "-i", metavar="FILE", help="Read rows from FILE instead of stdin."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write rows to FILE instead of stdout.",
        callback=_stdout_for_dash,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output file.")]
ForceRouter = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Overwrite traces, or a router of labels by one without; write one even where nothing is right.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what it would cost; send nothing.")]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of everything drawn at random.")]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
]

ColumnMap = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="MAP", help="Columns with other names: question=COLUMN,expected=COLUMN,…"
    ),
]
PickTiers = Annotated[
    str | None, typer.Option("--tiers", metavar="A,B", help="Tiers to compare, cheapest first.")
]
Costs = Annotated[
    str | None, typer.Option("--costs", metavar="A=USD,…", help="What an answer of a tier costs.")
]
VoteCosts = Annotated[
    str | None, typer.Option("--vote-costs", metavar="A=USD,…", help="What a vote of a tier costs.")
]
DropIncomplete = Annotated[
    bool, typer.Option("--drop-incomplete", help="Leave out rows that do not score every tier.")
]
Sure = Annotated[
    float,
    typer.Option(
        "--sure",
        min=0.5,
        max=0.99,
        metavar="P",
        help="Probability with which --keep is met.",
        callback=finite,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group", metavar="COLUMN", help="Rows with one value stay together, as copies of a question do."
    ),
]
SignalName = Annotated[
    str | None,
    typer.Option(
        "--signal",
        metavar="NAME|auto",
        help="Signal of the rows to look at; auto: the one with which a plan gains most, or none.",
    ),
]
ColumnOfClasses = Annotated[
    str | None,
    typer.Option(
        "--class-column",
        metavar="NAME",
        help="Rows name a question's class there, or in metadata; used where it pays.",
    ),
]
EmbedModel = Annotated[
    str | None,
    typer.Option("--embed-model", metavar="MODEL", help="Query-side routers read its embeddings."),
]
BaselineTier = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="TIER",
        help="Tier to compare with [the dearest, or a better one]; needs no labels.",
        autocompletion=complete_tier,
    ),
]
LabelFileOption = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Labels of some of the rows, as automix label wrote them."),
]
Traces = Annotated[
    Path | None,
    typer.Option(
        "--traces", metavar="FILE", help="Keep what was collected, to be read again.", callback=not_stdout
    ),
]
