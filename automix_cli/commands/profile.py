"""`automix profile`: which profiles there are, what one amounts to, what is wrong with a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automix_cli.commands import options as o
from automix_cli.commands.command import CommandOfGuesses, command_app
from automix_cli.commands.profile_init import init
from automix_cli.errors import DataError, ProfileError
from automix_cli.streams import stderr, stdout
from automix_cli.views.terminal import unbroken, width_of

if TYPE_CHECKING:
    from automix_cli.profile.model import Profile

_COMMENT = "#   "  # begins the lines after the first of a long comment

app = command_app("List, show and check profiles; start one of your own.")


@app.command("list", epilog="Example: automix profile list")
def list_profiles(json: o.AsJson = False, quiet: o.Quiet = False) -> None:
    """List the profiles that can be used here; the one that would be used is marked with *."""
    from automix_cli.profile.bundled import bundled_names, bundled_path
    from automix_cli.profile.search import profile_files

    current, trouble = _profile_in_use()
    rows = [
        *(_row(path, origin, current) for path, origin in profile_files(Path.cwd(), os.environ)),
        *(_row(bundled_path(name), "bundled", current) for name in bundled_names()),
    ]
    if current and current.path and str(current.path) not in [row["path"] for row in rows]:
        rows.insert(0, _row(current.path, current.origin, current))
    if json:
        from json import dumps

        print(dumps(rows))
    else:
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            print(_list_line(f"{'*' if row['used'] else ' '} {row['name']:<{width}}  ", _summary(row)))
    if trouble:
        _note(trouble.message, quiet)


def _list_line(head: str, summary: str) -> str:
    """A profile with its models; on a terminal that is too narrow each model begins a line."""
    columns = width_of(stdout())
    if columns is None or len(head) + len(summary) < columns:
        return f"{head}{summary}"
    start = "\n" + " " * len(head)
    return head + summary.replace(" → ", f"{start}→ ")


def _profile_in_use() -> tuple[Profile | None, ProfileError | None]:
    """The profile that `automix ask` would take here, or why it would take none."""
    from automix_cli.profile.search import load_profile

    try:
        return load_profile(), None
    except ProfileError as trouble:
        return None, trouble


def _row(path: Path, origin: str, current: Profile | None) -> dict[str, Any]:
    """A line of the list."""
    from automix_cli.profile.bundled import shown_path
    from automix_cli.profile.read import read_profile

    name = path.stem if origin == "bundled" else shown_path(path)
    row: dict[str, Any] = {"name": name, "origin": origin, "path": str(path)}
    row["used"] = current is not None and current.path == path
    try:
        profile = read_profile(path, trusted=origin != "discovered", origin="named")
        row["tiers"] = [{"name": t.name, "model": t.model} for t in profile.tiers]
    except ProfileError as trouble:
        row["error"] = trouble.message
    return row


def _summary(row: dict[str, Any]) -> str:
    """The models of a listed profile, or that it cannot be read."""
    if "error" in row:
        return f"cannot be used: automix profile check {row['path']}"
    return " → ".join(tier["model"] for tier in row["tiers"])


@app.command(epilog="Examples: automix profile show · automix profile show openai --origin > mine.yaml")
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]",
            help="Else the one that would be used.",
            autocompletion=o.complete_profile,
        ),
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where every value comes from.")] = False,
    json: o.AsJson = False,
) -> None:
    """Print the effective profile as YAML, with all it extends and every default."""
    from automix_cli.profile.search import load_profile
    from automix_cli.profile.yamltree import lines_of

    profile = load_profile(name)
    if json:
        from json import dumps

        print(dumps(profile.to_dict() | {"sha": profile.sha}))
        return

    def note(path: str) -> str:
        notes = (_origin_of(path, profile) if origin else "", _price_note(path, profile))
        return "; ".join(n for n in notes if n)

    print("\n".join(lines_of(profile.to_dict(), note=note)))
    if words := _plan_words(profile):
        columns = width_of(stdout())
        lines = unbroken(f"# plan: {words}", columns and columns - len(_COMMENT))
        print(lines.replace("\n", f"\n{_COMMENT}"))


def _plan_words(profile: Profile) -> str:
    """What the profile's policy does, in a sentence; "" where its router cannot be used."""
    from automix_cli.cascade.uncalibrated import default_policy
    from automix_cli.errors import AutomixError
    from automix_cli.fitting.router_block import start_shares
    from automix_cli.pomdp.prior_policy import UNKNOWN_LENGTH, PriorPolicy
    from automix_cli.pomdp.signals import recorded_signal
    from automix_cli.profile.router import named_classes, query_router, router_policy
    from automix_cli.views.first_moves_words import plan_sentence

    v = profile.verification
    try:
        policy = router_policy(profile) or default_policy(profile)
        starts = None if query_router(profile) is None else start_shares(profile.router or {})
        own = named_classes(profile)
        return plan_sentence(
            policy,
            [tier.name for tier in profile.tiers],
            recorded_signal(v.signal, v.logprob_of),
            v.max_votes if v.signal == "consistency" else 0,
            tokens=UNKNOWN_LENGTH if isinstance(policy, PriorPolicy) else None,
            starts=starts,
            classes=() if own is None else own.names,
        )
    except AutomixError:
        return ""


def _origin_of(path: str, profile: Profile) -> str:
    """The file and line that set a value, of a list its first item's."""
    return next((at for key, at in profile.sources if key == path or key.startswith(f"{path}[")), "default")


def _price_note(path: str, profile: Profile) -> str:
    """Beside a model whose price the profile leaves to LiteLLM's table: what stands there."""
    for i, tier in enumerate(profile.tiers):
        if path == f"tiers[{i}].model" and tier.price is None:
            price = tier.list_price()
            if price is None:
                return "price unknown: add price: {input: …, output: …}"
            return f"list price {price.input:g} in, {price.output:g} out, USD per million tokens"
    return ""


@app.command(epilog="Example: automix profile check automix.yaml")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A profile.", autocompletion=o.complete_file)],
    json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Check a profile; every problem is told with its line. Exit 0 when there is none, else 2."""
    from automix_cli.cascade.uncalibrated import notes
    from automix_cli.profile.bundled import shown_path
    from automix_cli.profile.read import read_profile
    from automix_cli.profile.router import is_calibrated
    from automix_cli.profile.search import FILE_NAME
    from automix_cli.profile.unknown_prices import price_line

    try:
        profile = read_profile(file, trusted=True, origin="named")
        _check_router(profile)
    except ProfileError as trouble:
        if json:
            _print_verdict(file, trouble.message.splitlines())
        raise
    if json:
        _print_verdict(file, [])
    else:
        tiers = f"{len(profile.tiers)} tier{'s' if len(profile.tiers) > 1 else ''}"
        kind = f"router {profile.router['kind']}" if profile.router else ""
        router = ", ".join(filter(None, (kind, "" if is_calibrated(profile) else "uncalibrated")))
        print(f"{shown_path(file)}: ok ({tiers}, {router})")
    if len(profile.tiers) > 1 and not is_calibrated(profile):
        for line in notes(profile):
            _note(line, quiet)
    for line in _break_even_lines(profile):
        _note(line, quiet)
    for tier in profile.tiers:
        if tier.list_price() is None:
            problem = f"{tier.name}: the price of {tier.model} is unknown, so costs will be null"
            _note(f"{problem}; tell it in the profile:\n  {price_line(tier, profile)}", quiet)
    if file.name == FILE_NAME:
        _warn_of_restrictions(file, quiet)


def _break_even_lines(profile: Profile) -> Iterator[str]:
    """Whether verification can pay on a short question, and up to which length of context."""
    from automix_cli.cascade.break_even import break_even, longest_context
    from automix_cli.records import Question
    from automix_cli.views.break_even_words import break_even_line, context_line

    own = break_even(profile, [Question(text="?")])
    if own is not None:
        yield "; ".join((break_even_line(own), *context_line(own, longest_context(profile))))


def _check_router(profile: Profile) -> None:
    """Refuse a router that `ask` could not use.

    Raises:
        ProfileError: it cannot be read, or was fitted on other tiers.
    """
    from automix_cli.profile.router import named_classes, query_router, router_policy

    try:
        router_policy(profile)
        query_router(profile)
        named_classes(profile)
    except DataError as exc:
        raise ProfileError(exc.message, hint=exc.hint) from exc


def _print_verdict(file: Path, problems: list[str]) -> None:
    from json import dumps

    print(dumps({"file": str(file), "ok": not problems, "problems": problems}))


def _warn_of_restrictions(file: Path, quiet: bool) -> None:
    """Say when a file that is fine when named would be refused when found in a folder."""
    from automix_cli.profile.read import read_profile

    try:
        read_profile(file, trusted=False, origin="discovered")
    except ProfileError as problem:
        _note(f"works with --profile {file} only; found by itself it is refused:\n{problem.message}", quiet)


app.command("init", cls=CommandOfGuesses)(init)


def _note(text: str, quiet: bool) -> None:
    if not quiet:
        print(unbroken(text, width_of(stderr())), file=stderr())
