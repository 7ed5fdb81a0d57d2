"""I, C and M: rows, options and data that cannot be used, found before anything is spent."""

import json
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback
from nursery import World, rows

GOOD = b'{"id": "a", "question": "What is 2 + 2?"}\n'
MORE = b'{"id": "b", "question": "What is 3 + 3?"}\n'


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The demo tiers: these inputs meet no provider."""
    with Loopback() as server:
        world = World(server, tmp_path)
    world.profile = Path("demo")
    return world


# ---------------------------------------------------------------- I: rows

REFUSED = {
    "I1-UTF-16": ('{"question": "q"}\n'.encode("utf-16"), "invalid UTF-8"),
    "I1-Latin-1 in line 3": (GOOD + MORE + b'{"question": "caf\xe9"}\n', ":3: invalid UTF-8 at byte 18"),
    "I4-two ids alike": (GOOD + GOOD, ":2: id 'a' stands twice (first in line 1)"),
    "I4-1 and '1'": (
        b'{"id": 1, "question": "q"}\n{"id": "1", "question": "r"}\n',
        ":2: id '1' stands twice",
    ),
    "I7-gzip": (b"\x1f\x8b" + GOOD, "is compressed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_meant_is_refused_unspent(name: str, world: World) -> None:
    data, message = REFUSED[name]
    path = world.folder / "q.jsonl"
    path.write_bytes(data)
    ran = world.ask(path, "--input", "jsonl")
    assert ran.code == 2
    assert message in ran.err
    assert str(path) in ran.err
    assert not world.out.exists()


BAD_ROWS = {
    "I2-17 MB": (b'{"question": "' + b"x" * 17 * 2**20 + b'"}', "longer than 16 MB"),
    "I2-a sparse 100 MB": (b"\0" * 100 * 2**20, "longer than 16 MB"),
    "I4-id true": (b'{"id": true, "question": "q"}', "id"),
    "I4-id 1.5": (b'{"id": 1.5, "question": "q"}', "id"),
    "I4-id a list": (b'{"id": [1], "question": "q"}', "id"),
    "I6-a key twice": (b'{"question": "q", "question": "r"}', "'question' stands twice"),
    "I6-NaN": (b'{"question": "q", "metadata": NaN}', "NaN is not a JSON number"),
    "I6-1e999": (b'{"question": "q", "metadata": 1e999}', "out of range"),
    "I6-5,000 digits": (b'{"question": "q", "metadata": ' + b"9" * 5000 + b"}", "not JSON"),
    "I6-nested 100,000 deep": (
        b'{"question": "q", "metadata": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        "nested",
    ),
    "I6-true": (b"true", "object"),
    "I6-an array": (b'["question"]', "object"),
    "I6-a trailing comma": (b'{"question": "q",}', "not JSON"),
    "I6-a comment": (b'{"question": "q"} // why', "not JSON"),
    "I8-no words": (b'{"question": "  "}', "question"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_an_error_row_with_its_line_and_under_strict_stops_all(name: str, world: World) -> None:
    bad, message = BAD_ROWS[name]
    path = world.folder / "q.jsonl"
    path.write_bytes(GOOD + bad + b"\n" + MORE)
    ran = world.ask(path)
    assert ran.code == 3, ran.err
    found = rows(world.out)
    assert [row["status"] for row in found] == ["ok", "error", "ok"]
    assert found[1]["error"]["message"].startswith("line 2: ")
    assert message in found[1]["error"]["message"]
    strict = world.ask(path, "--strict", "--force", env={"AUTOMIX_CACHE_DIR": str(world.folder / "unused")})
    assert strict.code == 2
    assert f"{path}:2: " in strict.err
    assert not (world.folder / "unused").exists()


def test_I1_byte_order_mark_crlf_blank_lines_and_no_last_line_feed_are_no_fault(world: World) -> None:
    path = world.folder / "q.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n\r\n\r\n") + MORE.rstrip())
    assert world.ask(path).code == 0
    assert [row["id"] for row in rows(world.out)] == ["a", "b"]


TEXTS = [
    "a\u2028b",
    "a\u0085b",
    "nul \x00",
    "lone \ud800",
    "\u202ertl",
    "e" + "\u0301" * 10_000,
    "../../x",
    "x" * 10_240,
]


def test_I3_I4_any_text_is_one_row_and_comes_back_as_it_was(world: World) -> None:
    path = world.folder / "q.jsonl"
    asked = [{"id": text, "question": f"What is 2 + {n}?", "metadata": text} for n, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in asked))
    assert world.ask(path).code == 0
    assert [(r["id"], r["metadata"]) for r in rows(world.out)] == [(t, t) for t in TEXTS]


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_I7_an_input_that_is_no_file_is_named(kind: str, world: World) -> None:
    path = world.folder / "here"
    if kind == "folder":
        path.mkdir()
    ran = world.ask(path)
    assert ran.code == 2
    assert str(path) in ran.err


# ---------------------------------------------------------------- C: options and profiles

OPTIONS = {
    "C2-budget NaN": ("--max-cost", "nan"),
    "C2-budget inf": ("--max-cost", "inf"),
    "C2-budget -1": ("--max-cost", "-1"),
    "C2-budget 5$": ("--max-cost", "5$"),
    "C2-degrade without a budget": ("--on-budget", "degrade"),
    "C2-the same tier twice": ("--tiers", "demo/small,demo/small"),
    "C2-no tiers": ("--tiers", ","),
    "C2-concurrency 1e9": ("-j", "1000000000"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_cannot_be_meant_is_refused_unspent(name: str, world: World) -> None:
    ran = world.ask(world.questions(2), *OPTIONS[name])
    assert ran.code == 2, ran.err
    assert "Traceback" not in ran.err
    assert not world.out.exists()


ROUTERS = [
    "{kind: pomdp}",
    "{kind: pomdp, cost_weight: .nan}",
    "{kind: always, tier: huge}",
    "{kind: no-such}",
    "7",
]


@pytest.mark.parametrize("router", ROUTERS)
def test_C4_a_damaged_router_block_is_refused_unspent(router: str, world: World) -> None:
    world.profile = world.folder / "damaged.yaml"
    world.profile.write_text(
        "version: 1\nname: d\ntiers: [{name: small, model: demo/small}, {name: large, model: demo/large}]\n"
        f"router: {router}\n"
    )
    ran = world.ask(world.questions(2))
    assert ran.code == 2, ran.err
    assert "router" in ran.err
    assert not world.out.exists()


# ---------------------------------------------------------------- M: data to calibrate and compare with


def trace(n: int) -> dict[str, Any]:
    return {
        "id": n,
        "question": f"q{n}",
        "tiers": {
            "small": {
                "score": float(n % 3 > 0),
                "votes": [1, 0, n % 2, 1],
                "cost": 0.001,
                "vote_cost": 0.0005,
            },
            "large": {"score": 1.0, "cost": 0.01},
        },
    }


def spoil(tier: str, **values: Any) -> list[dict[str, Any]]:
    found = [trace(n) for n in range(40)]
    found[6]["tiers"][tier] |= values
    return found


DATA: dict[str, tuple[list[dict[str, Any]], str]] = {
    "M1-no rows": ([], "no rows"),
    "M2-NaN": (spoil("small", score=float("nan")), ":7: "),
    "M2-Infinity": (spoil("small", score=float("inf")), ":7: "),
    "M2-text": (spoil("small", score="false"), ":7: tiers.small.score"),
    "M2-1.5": (spoil("small", score=1.5), ":7: tiers.small.score"),
    "M2-a vote of 2": (spoil("small", votes=[1, 2]), ":7: tiers.small.votes"),
    "M3-a tier missing": (
        [{**trace(0), "tiers": {"small": trace(0)["tiers"]["small"]}}, *map(trace, range(1, 9))],
        "1 of 9",
    ),
    "M6-a negative cost": (spoil("large", cost=-1), ":7: tiers.large.cost"),
    "I4-ids alike": ([trace(0), trace(1), trace(0)], ":3: id '0' stands twice (first in line 1)"),
}


@pytest.mark.parametrize("command", ["calibrate", "bench"])
@pytest.mark.parametrize("name", DATA)
def test_data_that_cannot_be_used_are_refused_with_file_and_line(
    name: str, command: str, world: World
) -> None:
    data, message = DATA[name]
    path = world.folder / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    before = set(world.folder.iterdir())
    ran = world.run(command, path, "-o", world.folder / "new")
    assert ran.code == 2, ran.err
    assert f"{path}{message}" in ran.err if message.startswith(":") else message in ran.err
    assert "Traceback" not in ran.err
    assert {p for p in set(world.folder.iterdir()) - before if p.suffix not in (".out", ".err")} == set()
