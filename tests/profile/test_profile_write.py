"""Writing a router: every other byte of the file survives."""

import os
import random
import stat
from pathlib import Path

import pytest
from profile_files import TWO, planted

from automix_cli.errors import ProfileError, StorageError
from automix_cli.profile import yamltree
from automix_cli.profile.read import read_profile
from automix_cli.profile.search import load_profile, profile_of_models
from automix_cli.profile.write import write_router

ROUTER = {
    "kind": "pomdp",
    "cost_weight": 41.7,
    "prior": {"00": 3, "01": 1e-05, "no": 2.5},
    "observations": {"small": {"right": [3.5, 0.25], "table": [[1, 2], [3, 4]], "empty": [], "none": None}},
    "tiers": [{"name": "small", "unproven": True}, {"name": "large", "unproven": False}],
    "fitted": {
        "rows": 400,
        "data_sha256": "12e45678",
        "date": "2026-11-01",
        "models": ["demo/small"],
        "held_out": {},
    },
}

INDENTED = "".join(f"  {line}\n" for line in TWO.splitlines())
PLACES = {
    "last": (TWO, "router:\n  kind: always\n  tier: small", "\n"),
    "last, no final newline": (TWO, "router: {kind: always, tier: small}", ""),
    "between": (
        "# a\n",
        "router:\n  # in\n  kind: pomdp  # b\n  cuts:\n    - 1",
        "\n# c\n\n" + TWO + "# d\n",
    ),
    "first, a list at its own level": ("", "router:\n  kind: pomdp\n  cuts:\n  - 1\n  - 2", "\n" + TWO),
    "in braces over two lines": ("", "router: {kind: pomdp,\n  cost_weight: 3 }  # e", "\n" + TWO),
    "with a block text": ("", "router:\n  kind: pomdp\n  note: |\n    a\n    b", "\n\n# f\n" + TWO),
    "null": (TWO, "router: null  # none yet", "\nlimits: {attempts: 2}\n"),
    "nothing": ("# g\n", "router:", "\n" + TWO),
    "quoted": (TWO, '"router": {kind: pomdp}', "\n# z\n"),
    "indented": (INDENTED, "  router: {kind: pomdp}", "\n"),
    "before the end mark": ("---  # start\n" + TWO, "router: {kind: pomdp}", "\n...  # stop\n"),
    "among wide characters": (
        "# ümläut 🦜 日本\n" + TWO,
        "router: {kind: pomdp, note: 日🦜}",
        '\ntask: {instruction: "日本 🦜"}\n# after\n',
    ),
    "before odd blanks": (TWO, "router: {kind: pomdp}", "   \n\n \n\n"),
}


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def block(indent: str, ending: str) -> str:
    return ending.join(indent + line for line in yamltree.lines_of({"router": ROUTER}))


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("before", "old", "after"), PLACES.values(), ids=PLACES.keys())
def test_a_router_block_is_replaced_and_every_byte_around_it_survives(
    folder: Path, before: str, old: str, after: str, ending: str
) -> None:
    before, old, after = (part.replace("\n", ending) for part in (before, old, after))
    after = after.lstrip(" ")  # blanks on the block's own last line are the block's
    Path("p.yaml").write_bytes((before + old + after).encode())
    write_router(Path("p.yaml"), ROUTER)
    expected = before + block("  " if old.startswith(" ") else "", ending) + after
    assert Path("p.yaml").read_bytes().decode() == expected
    assert read_profile(Path("p.yaml"), trusted=True, origin="named").router == ROUTER
    write_router(Path("p.yaml"), ROUTER)
    assert Path("p.yaml").read_bytes().decode() == expected, "the same router again changes nothing"


@pytest.mark.parametrize(
    ("before", "gap", "end", "after"),
    [
        (TWO, "\n", "\n", ""),
        (TWO + "# the end\n", "\n", "\n", ""),
        (TWO + "limits: {attempts: 2}", "\n\n", "", ""),
        (TWO + "# no newline", "\n\n", "", ""),
        (TWO.replace("\n", "\r\n"), "\r\n", "\r\n", ""),
        (TWO, "\n", "\n", "...\n# stop\n"),
        (INDENTED, "\n", "\n", ""),
    ],
)
def test_a_router_block_is_added_and_what_was_there_stays(
    folder: Path, before: str, gap: str, end: str, after: str
) -> None:
    Path("p.yaml").write_bytes((before + after).encode())
    write_router(Path("p.yaml"), ROUTER)
    indent = "  " if before == INDENTED else ""
    added = block(indent, "\r\n" if "\r" in before else "\n")
    assert Path("p.yaml").read_bytes().decode() == before + gap + added + end + after
    assert read_profile(Path("p.yaml"), trusted=True, origin="named").router == ROUTER


def test_a_hundred_random_routers_come_back_as_they_were_written(folder: Path) -> None:
    dice = random.Random(7)
    words = [
        "no",
        "1e3",
        "0755",
        "",
        " a",
        "a: b",
        "#x",
        "é🦜",
        "\n",
        "\x1b",
        "'",
        '"',
        "- a",
        "~",
        "=",
        "0o7",
        "\u2028",
        "12:30",
    ]

    def value(depth: int) -> object:
        kind = dice.randrange(7 if depth else 5)
        if kind == 0:
            return dice.choice(words)
        if kind == 1:
            return dice.choice([0, -3, 10**15, True, False, None])
        if kind == 2:
            return dice.choice([0.1, 1e-300, 1e22, 123456789.125, -2.5e-07, dice.random()])
        if kind < 6:
            return [value(depth - 1) for _ in range(dice.randrange(4))] if depth else "x"
        return {dice.choice(words): value(depth - 1) for _ in range(dice.randrange(4))}

    for _ in range(100):
        router = {"kind": "knn", "body": value(5), "more": {dice.choice(words): value(4)}}
        Path("p.yaml").write_text(TWO)
        write_router(Path("p.yaml"), router)
        assert read_profile(Path("p.yaml"), trusted=True, origin="named").router == router


def test_a_router_that_is_not_finite_or_too_large_is_not_written(folder: Path) -> None:
    path = planted(folder, "p.yaml")
    with pytest.raises(ProfileError, match="nan cannot be written: it is not finite"):
        write_router(path, {"kind": "pomdp", "cost_weight": float("nan")})
    with pytest.raises(ProfileError, match="holds at most 64 KiB"):
        write_router(path, {"kind": "knn", "rows": ["x" * 100] * 1000})
    assert path.read_text() == TWO
    assert os.listdir(folder) == ["p.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "{tiers: [{name: a, model: demo/a}]}\n",
        TWO + "task:\n  instruction: |\n    no newline at the end",
    ],
    ids=["braces", "open block text"],
)
def test_a_file_that_cannot_take_a_block_is_left_alone(folder: Path, text: str) -> None:
    path = planted(folder, "p.yaml", text=text)
    with pytest.raises(ProfileError, match="cannot take a router block"):
        write_router(path, ROUTER)
    assert path.read_text() == text


def test_a_profile_that_only_one_parser_reads_is_refused_with_its_line(folder: Path) -> None:
    path = planted(folder, "p.yaml", text=TWO + "name:\tmine\n")
    with pytest.raises(ProfileError, match=r"^p\.yaml:6: is not valid YAML: a tab cannot stand here"):
        write_router(path, ROUTER)


def test_no_block_is_put_into_what_is_no_yaml() -> None:
    with pytest.raises(ValueError, match=r"^line 2 is not valid YAML: the \[ of line 1 is not closed"):
        yamltree.put_block("a: [1\nb: 2\n", "router", ["router: null"])


def test_a_new_file_extends_the_bundled_profile_and_does_not_copy_it(folder: Path) -> None:
    demo = load_profile("demo")
    write_router(folder / "automix.yaml", ROUTER, profile=demo)
    assert (folder / "automix.yaml").read_text() == "version: 1\nextends: demo\n\n" + block("", "\n") + "\n"
    p = load_profile(cwd=folder, environ={"HOME": str(folder)})
    assert (p.tiers, p.router, p.origin) == (demo.tiers, ROUTER, "discovered")


def test_a_new_file_beside_its_base_extends_it_and_elsewhere_copies_it(folder: Path) -> None:
    base = load_profile(str(planted(folder, "base.yaml", text="# mine\n" + TWO)))
    write_router(folder / "automix.yaml", ROUTER, profile=base)
    assert (folder / "automix.yaml").read_text().startswith("version: 1\nextends: base.yaml\n")
    (folder / "sub").mkdir()
    write_router(folder / "sub" / "automix.yaml", ROUTER, profile=base)
    assert (folder / "sub" / "automix.yaml").read_text() == "# mine\n" + TWO + "\n" + block("", "\n") + "\n"
    for path in (folder / "automix.yaml", folder / "sub" / "automix.yaml"):
        assert read_profile(path, trusted=False, origin="discovered").tiers == base.tiers


def test_a_file_that_extends_a_neighbour_is_not_copied_away_from_it(folder: Path) -> None:
    planted(folder, "base.yaml")
    p = load_profile(str(planted(folder, "p.yaml", text="extends: base.yaml\n")))
    (folder / "sub").mkdir()
    with pytest.raises(ProfileError, match=r"cannot extend base\.yaml from another folder"):
        write_router(folder / "sub" / "automix.yaml", ROUTER, profile=p)


def test_a_new_file_for_models_of_the_command_line_names_them(folder: Path) -> None:
    p = profile_of_models(["demo/small", "demo/large"])
    write_router(folder / "new.yaml", ROUTER, profile=p)
    assert load_profile("new.yaml").tiers == p.tiers


def test_a_router_is_not_written_beside_tiers_it_was_not_fitted_on(folder: Path) -> None:
    path = planted(folder, "p.yaml")
    with pytest.raises(ProfileError, match=r"has other tiers .*large: demo/large"):
        write_router(path, ROUTER, profile=profile_of_models(["demo/small"]))
    write_router(path, ROUTER, profile=profile_of_models(["demo/small", "demo/large"]))
    assert "pomdp" in path.read_text()


def test_a_link_is_not_written_through_and_a_mode_is_kept(folder: Path) -> None:
    path = planted(folder, "p.yaml")
    path.chmod(0o640)
    (folder / "link.yaml").symlink_to(path)
    with pytest.raises(ProfileError, match="is not a regular file"):
        write_router(folder / "link.yaml", ROUTER)
    write_router(path, ROUTER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(folder)) == ["link.yaml", "p.yaml"]


def test_a_router_needs_a_file_or_a_profile_to_stand_in(folder: Path) -> None:
    with pytest.raises(ProfileError, match=r"new\.yaml: no such profile"):
        write_router(folder / "new.yaml", ROUTER)
    with pytest.raises(TypeError, match="set cannot be written as YAML"):
        write_router(planted(folder, "p.yaml"), {"kind": "knn", "rows": {1, 2}})


def test_a_file_that_cannot_be_written_is_a_storage_error(folder: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: No such file or directory"):
        write_router(folder / "nowhere" / "p.yaml", ROUTER, profile=load_profile("demo"))
