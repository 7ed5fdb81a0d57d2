"""`automix doctor`: what a run would meet on this machine."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from automix_cli.commands import options as o
from automix_cli.commands.command import command_app
from automix_cli.views.terminal import print_json, print_text

app = command_app()


@app.command("doctor")
def doctor(
    profile: o.ProfileName = None,
    ping: Annotated[
        bool, typer.Option("--ping", help="Also ask servers on other machines whether they are there.")
    ] = False,
    json: o.AsJson = False,
    version: o.Version = False,
) -> None:
    """Say what a run would meet here: versions, profile, keys, prices, servers, cache, terminal.

    Exit 0 where nothing stands in the way, else 1. Only servers on this machine are asked, for the
    list of their models, with the key that the profile names for them; --ping asks the others,
    without a key. The output names the variables that
    hold keys and never what they hold: paste it into a report of a fault.

    \b
    Examples:
      automix doctor
      automix doctor --profile ./automix.yaml --ping
      automix doctor --json
    """  # noqa: D301
    from automix_cli.profile.diagnosis import diagnose
    from automix_cli.views.diagnosis_view import diagnosis_lines

    report = diagnose(profile, os.environ, ping=ping)
    if json:
        print_json(report)
    else:
        print_text("\n".join(diagnosis_lines(report)))
    raise typer.Exit(1 if report["problems"] else 0)
