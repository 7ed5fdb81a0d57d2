"""The list of commands: help and completion come from a table, and load nothing."""

import subprocess
import sys

import pytest
from shell import environment

from automix_cli import cli

SCRIPT = """
import sys
from automix_cli import cli
sys.argv[0] = "automix"
try:
    cli.main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
HEAVY = {"asyncio", "diskcache", "litellm", "numpy", "rich", "yaml"}


def test_every_command_of_the_table_can_be_loaded() -> None:
    commands = {name: cli.load_command(name) for name in cli.COMMANDS}
    assert {name for name, command in commands.items() if command.name not in (name, "", None)} == set()
    assert all(command.help for command in commands.values())


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--help"], {}),
        ([], {"_AUTOMIX_COMPLETE": "complete_bash", "COMP_WORDS": "automix c", "COMP_CWORD": "1"}),
    ],
)
def test_help_and_completion_load_no_command(arguments: list[str], variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
    )
    assert all(name in done.stdout for name in ("calibrate", "cache"))
    assert "...\n" not in done.stdout.replace("[ARGS]...", "")
    modules = set(done.stderr.split())
    assert not modules & HEAVY
    assert not modules & {f"automix_cli.commands.{name}" for name in cli.COMMANDS}
