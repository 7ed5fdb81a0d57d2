"""`python -m automix_cli` is `automix`."""

from automix_cli.cli import run

run()
