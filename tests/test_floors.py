"""Imports go one way: a module imports only from rows above its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "automix_cli"

FLOORS = [
    ["errors", "foreign_warnings", "yaml_refusals"],
    ["records"],
    ["prompts", "scoring", "yamltree", "demo_questions"],
    ["pomdp", "schema"],
    ["observations", "columns", "majority"],
    ["planner", "traces"],
    ["rollout"],
    ["replay"],
    ["metrics"],
    ["features", "duplicates"],
    ["routers"],
    ["fitting", "classes"],
    ["calibration", "health"],
    ["certificate", "paper"],
    ["contenders"],
    ["bench"],
    ["gates"],
    ["catalog"],
    ["profile", "jsonl", "backend", "store"],
    ["embedding"],
    ["cache", "transport", "direct", "demo"],
    ["litellm_backend"],
    ["cascade"],
    ["batch"],
    ["api", "serve"],
    ["report"],
    ["calibration_view", "bench_view"],
    ["plots"],
    ["page"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
FLOOR_OF = {name: i for i, row in enumerate(FLOORS) for name in row} | {"": -1}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def room(path: Path) -> str:
    """The name a file has in FLOORS."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "automix_cli"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            parts = (name or "").split(".")
            if parts[0] == "automix_cli":
                rooms.add(parts[1] if len(parts) > 1 and not parts[1].startswith("__") else "")
    return rooms


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_rows_above_its_own(path: Path) -> None:
    own = room(path)
    assert own in FLOOR_OF, f"{own} has no floor"
    below = {r for r in imported_rooms(path) if FLOOR_OF.get(r, 99) >= FLOOR_OF[own] and r != own}
    assert not below, f"{own} imports {sorted(below)}"


def test_modules_of_one_row_do_not_import_each_other_in_a_ring() -> None:
    edges = {room(p): imported_rooms(p) - {room(p)} for p in modules()}
    assert all(own not in edges.get(other, set()) for own, others in edges.items() for other in others)
