"""What the command line relies on in Typer and Rich."""

import pytest
from rich.console import Console
from rich.text import Text
from rich.tree import Tree
from shell import automix

pytestmark = pytest.mark.contract


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["ask", "--profile", "demo", "What is 17 * 23?"], 0, "391\n", "demo tiers"),
        (["ask", "--profile", "nowhere.yaml", "?"], 2, "", "nowhere.yaml"),
        (["ask", "--no-such-option"], 2, "", "--no-such-option"),
        (["no-such-command"], 2, "", "no-such-command"),
        (["--version"], 0, "automix", ""),
        (["ask", "--help"], 0, "--profile", ""),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else None,
)
def test_a_command_ends_with_its_own_exit_code(words: list[str], code: int, out: str, err: str) -> None:
    run = automix(*words)
    assert run.code == code, run.err
    assert out in run.out
    assert err in run.err
    assert "internal error" not in run.err
    assert bool(run.out) == bool(out)


def test_text_is_printed_as_it_stands() -> None:
    text = "The list is [red], [/b], :smile: and [0, 1]"
    console = Console(width=200, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as shown:
        console.print(text)
        console.print(Tree(Text(text)))
    assert shown.get() == f"{text}\n{text}\n"
