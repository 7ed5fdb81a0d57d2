"""stdout carries results and stderr our words, whoever else prints."""

import ast
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automix_cli import streams

PACKAGE = Path(__file__).parent.parent / "automix_cli"
EDGES = {  # no model is called there, so that no library replaces the streams
    *("streams.py", "cli.py", "commands/cache.py", "commands/profile.py", "commands/options.py"),
    "backends/demo/tiers.py",
}
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if str(p.relative_to(PACKAGE)) not in EDGES]


def unnamed(tree: ast.AST) -> Iterator[int]:
    """Lines that write to whatever `sys.stdout` or `sys.stderr` is.

    Example: print(1) -> its line; print(1, file=stdout()) -> none
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr"):
            if isinstance(node.value, ast.Name) and node.value.id == "sys":
                yield node.lineno
        elif isinstance(node, ast.Call) and "file" not in {k.arg for k in node.keywords}:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "echo" or (name == "print" and isinstance(node.func, ast.Name)):
                yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_who_writes_names_the_stream(path: Path) -> None:
    assert list(unnamed(ast.parse(path.read_text("utf-8")))) == []


def test_the_rule_finds_what_it_forbids() -> None:
    code = "print(1)\nprint(1, file=f)\necho(1)\ntyper.echo(1)\nsys.stdout\nconsole.print(1)\n"
    assert list(unnamed(ast.parse(code))) == [1, 3, 4, 5]


def test_others_write_elsewhere_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err, others = io.StringIO(), io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(ValueError, match="failed"), streams.own_streams(others):  # noqa: PT012
        print("theirs")
        print("theirs, too", file=sys.stderr)
        print("a result", file=streams.stdout())
        with streams.messages_through(io.StringIO()) as _:
            print("above the bar", file=streams.stderr())
        print("a message", file=streams.stderr())
        raise ValueError("failed")
    assert (out.getvalue(), err.getvalue()) == ("a result\n", "a message\n")
    assert others.getvalue() == "theirs\ntheirs, too\n"
    assert (sys.stdout, sys.stderr, streams.stdout(), streams.stderr()) == (out, err, out, err)


def test_a_stream_that_the_caller_closed_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with streams.own_streams(io.StringIO()):
        assert streams.stdout() is None
    assert sys.stdout is None
