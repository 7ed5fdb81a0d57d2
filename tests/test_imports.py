"""Imports go one way: a folder imports only from folders to its left."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "automix_cli"

WORDS = ("errors", "records", "process", "prompts", "scoring", "streams", "texts", "usage")
ORDER = (
    *("words", "pomdp", "data", "fitting", "backends", "profile", "cascade"),
    *("evaluation", "views", "api", "library", "serving", "commands", "cli", "__main__"),
)
LIVE = ("backends", "profile", "cascade")  # what evaluation, which works on recorded rows, does not know


class Import(NamedTuple):
    """One module that another one imports, and where."""

    line: int
    module: str


def folder_of(module: str) -> str:
    """The entry of ORDER that a module belongs to.

    Example: automix_cli.pomdp.plan -> pomdp; automix_cli.errors -> words
    """
    name = module.split(".")[1]
    return "words" if name in WORDS else name


def imports(path: Path) -> Iterator[Import]:
    """Every module of the package that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "automix_cli":
            modules = [f"automix_cli.{alias.name}" for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            modules = [node.module or ""]
        else:
            continue
        yield from (Import(node.lineno, m) for m in modules if m.startswith("automix_cli."))


def module_of(path: Path) -> str:
    return ".".join(("automix_cli", *path.relative_to(PACKAGE).with_suffix("").parts))


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_folder_imports_only_from_its_left(path: Path) -> None:
    own = folder_of(module_of(path))
    for line, module in imports(path):
        other = folder_of(module)
        assert ORDER.index(other) <= ORDER.index(own), f"{path}:{line}: {own} imports {module}"
        assert not (own == "evaluation" and other in LIVE), f"{path}:{line}: {own} imports {module}"


def test_every_folder_stands_in_the_order() -> None:
    assert {folder_of(module_of(path)) for path in FILES} <= set(ORDER)
