"""Names are nouns for things and verbs for functions, and one capitalised name stands for one thing."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "automix_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

IRREGULAR = """
found told held asked kept seen known given taken made laid drawn paid met shown spoken wrote thought
sent bought said left lost chosen written gone done meant brought caught built felt fought heard hidden
led lent lit understood won worn spent stood struck swept taught torn thrown woken broken born borne
bound grown fallen forgotten sold sought shut stuck
""".split()  # noqa: SIM905 (a list of ninety lines would hide that these are words of one kind)
NO_PARTICIPLES = (
    *("bed", "embed", "exceed", "feed", "hundred", "indeed", "need", "proceed"),
    *("red", "reseed", "seed", "speed"),
)

ALLOWED = {
    "expected": "the key of a row that holds its gold answers",
    "parsed": "votes that could be read, a field of counts and observations",
    "unparsed": "votes that could not be read, a field of counts and observations",
    "failed": "a field of observations: the tier gave no answer",
    "cached": "a field of a completion: no money was spent on it",
    "escalated": "a share of rows that reports name so",
    "abstained": "a status of rows, and a share of them",
    "skipped": "a status of rows",
    "degraded": "a flag of rows",
    "answered": "rows with an answer, a count of reports",
    "calibrated": "a key of verify rows",
    "fitted": "the key of a router block that tells what it was fitted on",
    "sampled": "a key of verify rows: how many answers were sampled",
    "unordered": "the option --unordered",
    "left": "a direction, as in left and right",
    "ordered": "a yes or no: rows come out in the order of the input",
    "required": "a yes or no, or the keys that must be there",
    "trusted": "a yes or no: somebody named this profile",
    "fixed": "the part of a cost that does not grow with the prompt; a policy with one setting",
    "observed": "the share that a batch showed, beside the fitted one",
    "bound": "the best that a router could reach",
    "labelled": "the argument LABELED of calibrate",
}


def is_bare_participle(name: str) -> bool:
    """Whether a name is one participle and nothing else.

    Example: found, _asked -> True; is_found, seed, parsed_votes -> False
    """
    word = name.strip("_")
    if "_" in word or not word.isalpha() or not word.islower() or word in NO_PARTICIPLES:
        return False
    return word in IRREGULAR or (word.endswith("ed") and len(word) > 3)


class Name(NamedTuple):
    """A name that a file gives to a variable, an argument or a function."""

    line: int
    name: str


def names_given(tree: ast.AST) -> Iterator[Name]:
    """The names that a tree gives to variables, attributes, arguments and functions.

    Targets of comprehensions are not looked at.
    """
    comprehensions = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    targets = [g.target for n in ast.walk(tree) if isinstance(n, comprehensions) for g in n.generators]
    within = {id(node) for target in targets for node in ast.walk(target)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in within:
            yield Name(node.lineno, node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield Name(node.lineno, node.attr)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield Name(node.lineno, node.name)
        elif isinstance(node, ast.arg):
            yield Name(node.lineno, node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Name(node.lineno, node.name)


def capitalised(tree: ast.Module) -> Iterator[str]:
    """The classes and constants that a module defines, without leading underscores."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name.strip("_")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            name = target.id.strip("_") if isinstance(target, ast.Name) else ""
            if len(name) > 1 and name[0].isupper():
                yield name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_name_is_a_bare_participle(path: Path) -> None:
    bad = [n for n in names_given(ast.parse(path.read_text("utf-8"))) if is_bare_participle(n.name)]
    assert [f"{path.name}:{line}: {name}" for line, name in bad if name.strip("_") not in ALLOWED] == []


def test_every_allowed_name_is_in_use() -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in FILES]
    assert ALLOWED.keys() <= {given.name.strip("_") for tree in trees for given in names_given(tree)}


def test_one_capitalised_name_stands_for_one_thing() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        for name in capitalised(ast.parse(path.read_text("utf-8"))):
            homes[name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(files) for name, files in homes.items() if len(files) > 1} == {}
