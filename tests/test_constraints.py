"""The pinned versions stand for themselves and satisfy what pyproject.toml asks for."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import drift
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "automix_cli"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]
MACHINES = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.1", "sys_platform": platform}
    for minor in (11, 12, 13, 14)
    for platform in ("linux", "darwin", "win32")
]
EXTRAS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def requirements(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, its own extras of this project included."""
    for line in EXTRAS[extra]:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            for inner in requirement.extras:
                yield from requirements(inner)
        else:
            yield requirement


def pins(requirement: Requirement, machine: dict[str, str]) -> list[Version]:
    """The versions pinned for a requirement on a machine."""
    name = canonicalize_name(requirement.name)
    return [
        Version(str(pin.specifier).removeprefix("=="))
        for pin in PINS
        if canonicalize_name(pin.name) == name and (pin.marker is None or pin.marker.evaluate(machine))
    ]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: "-".join([*machine.values()][1:]))
@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra or "none")
def test_every_requirement_has_one_pin_that_satisfies_it(extra: str, machine: dict[str, str]) -> None:
    for requirement in requirements(extra):
        versions = pins(requirement, machine)
        assert len(versions) == 1, requirement
        assert requirement.specifier.contains(versions[0]), requirement


def test_the_pins_name_versions_and_nothing_else() -> None:
    assert len(PINS) > 50
    for line in LINES:
        assert not re.search(r"://|@|/|\\|--hash", line), line
    for pin in PINS:
        assert re.fullmatch(r"==[0-9][^,*]*", str(pin.specifier)), pin


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra or "none")
def test_every_range_has_a_lower_and_an_upper_bound(extra: str) -> None:
    for requirement in requirements(extra):
        assert {clause.operator for clause in requirement.specifier} >= {">=", "<"}, requirement


def libraries(node: ast.AST) -> Iterator[str]:
    """The packages that are imported anywhere below a node, Python's own and ours left out."""
    for part in ast.walk(node):
        names = [alias.name for alias in part.names] if isinstance(part, ast.Import) else []
        if isinstance(part, ast.ImportFrom):
            names.append(part.module or "")
        yield from {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"automix_cli"}


def test_every_library_that_the_package_imports_is_asked_for() -> None:
    homes = packages_distributions()
    own = {
        canonicalize_name(r.name) for extra in ("", "routers", "parquet", "ray") for r in requirements(extra)
    }
    imports = {
        name for path in PACKAGE.rglob("*.py") for name in libraries(ast.parse(path.read_text("utf-8")))
    }
    assert len(imports) > 5
    for name in imports:
        assert {canonicalize_name(d) for d in homes.get(name, [name])} & own, name


def test_what_only_an_extra_asks_for_is_imported_where_it_is_needed() -> None:
    extra = {"ray", "sklearn", "scipy", "threadpoolctl"}
    for path in PACKAGE.rglob("*.py"):
        top = [
            n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        assert not extra & {name for node in top for name in libraries(node)}, path


def test_the_malicious_releases_of_litellm_are_outside_the_range() -> None:
    (litellm,) = (line for line in map(Requirement, PROJECT["dependencies"]) if line.name == "litellm")
    assert not any(litellm.specifier.contains(version) for version in ("1.82.7", "1.82.8"))


# ── The drift command ─────────────────────────────────────────────────────────────────────────


def test_lower_bounds_become_pins() -> None:
    project = {
        "dependencies": ["typer>=0.26,<0.29", "numpy>=2,<3"],
        "optional-dependencies": {"test": ["automix-cli[routers]", "pytest-xdist>=3.6.1,<4"]},
    }
    assert list(drift.lowest(project)) == ["typer==0.26", "numpy==2", "pytest-xdist==3.6.1"]


def test_every_requirement_of_the_project_has_a_lower_bound_to_try() -> None:
    asked = {canonicalize_name(line.name) for extra in EXTRAS for line in requirements(extra)}
    assert {drift.canonical(pin.partition("==")[0]) for pin in drift.lowest(PROJECT)} == asked


def test_only_versions_that_no_pin_names_differ() -> None:
    text = "# six==1\nnumpy==2.4 ; python_version < '4'\nnumpy==2.5 ; os_name == 'b'\nPyYAML==6.0\nrich==15\n"
    versions = {"numpy": "2.5", "pyyaml": "6.1", "rich": "15", "six": "1.17"}
    assert list(drift.differences(drift.pinned(text), versions)) == [
        ("pyyaml", "6.0", "6.1"),
        ("six", "not pinned", "1.17"),
    ]


def test_a_report_becomes_one_line_for_each_failure(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.test_a" name="test_b[c]">'
        '<failure message="short">def f():\n&gt;   assert 1 == 2\nE   assert 1 == 2\nE    +  where 1\n'
        '</failure></testcase><testcase classname="" name="tests.test_d">'
        '<error message="collection failure">E   ImportError: x</error></testcase>'
        '<testcase classname="tests.test_a" name="test_e"><skipped/></testcase>'
        '<testcase classname="tests.test_a" name="test_f"/></testsuite></testsuites>'
    )
    assert drift.outcome(report) == (
        4,
        1,
        (("tests.test_a::test_b[c]", "assert 1 == 2"), ("::tests.test_d", "ImportError: x")),
    )
