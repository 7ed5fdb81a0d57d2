"""`automix schema`: the forms of files, for editors and other programs."""

from __future__ import annotations

from automix_cli.commands.command import command_app
from automix_cli.streams import stdout

app = command_app("Print the JSON schema of a file that automix reads.")


@app.callback()
def schema() -> None:
    """Print the JSON schema of a file that automix reads."""


@app.command(epilog="Example: automix schema profile > automix.schema.json")
def profile() -> None:
    """Print the JSON schema of a profile: which keys there are, and what they may hold.

    An editor reads it where the first line of the profile names it:
    # yaml-language-server: $schema=./automix.schema.json
    """
    from json import dumps

    from automix_cli.profile.json_schema import profile_schema

    print(dumps(profile_schema(), indent=2), file=stdout(), flush=True)
