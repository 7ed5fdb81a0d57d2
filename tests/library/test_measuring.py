"""`calibrate` and `bench` of the face: what the command prints, from rows, a file or the tiers."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import Call, Loopback
from shell import automix as command
from shell import jsonl

from automix_cli import Automix
from automix_cli.errors import BudgetError, DataError, GateError, UsageError

PROFILE = """\
version: 1
name: own
tiers:
{tiers}verification: {{max_votes: 2, batch: [2]}}
limits: {{concurrency: 8, attempts: 1}}
"""
TIER = (
    "  - {{name: {name}, model: openai/{name}, api_base: '{url}', "
    "price: {{input: {price}, output: {price}}}}}\n"
)


def traces(count: int = 30) -> list[dict[str, Any]]:
    draw = random.Random(5)
    return [
        {
            "id": n,
            "question": f"q {n}?",
            "tiers": {
                "small": {
                    "score": int(right := draw.random() < 0.7),
                    "votes": [int(draw.random() < (0.9 if right else 0.2)) for _ in range(2)],
                    "cost": 1,
                    "vote_cost": 0.1,
                },
                "large": {"score": int(draw.random() < 0.9), "cost": 20},
            },
        }
        for n in range(count)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A profile of two tiers that no server stands behind."""
    return profile(tmp_path, "http://127.0.0.1:9/v1")


def profile(folder: Path, url: str) -> Path:
    tiers = "".join(TIER.format(name=name, url=url, price=price) for name, price in PRICES.items())
    path = folder / "own.yaml"
    path.write_text(PROFILE.format(tiers=tiers), encoding="utf-8")
    return path


PRICES = {"small": 1, "large": 20}
Way = Callable[[Automix, Any], dict[str, Any]]
CALLS: dict[str, tuple[Way, tuple[str, ...]]] = {
    "calibrate": (lambda face, data: face.calibrate(data, folds=3, seed=2), ("--folds", "3", "--seed", "2")),
    "bench": (
        lambda face, data: face.bench(data, policies="threshold", split=0.4, keep=None),
        ("--policies", "threshold", "--split", "0.4"),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_object_is_the_one_that_the_command_prints(name: str, path: Path, tmp_path: Path) -> None:
    call, options = CALLS[name]
    file = tmp_path / "rows.jsonl"
    file.write_text(jsonl(*traces()))
    before = path.read_text()
    with Automix.from_profile(path) as automix:
        row = call(automix, file)
    assert path.read_text() == before, "no router is written"
    ran = command(name, file, "--profile", path, *options, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert json.loads(json.dumps(row)) == json.loads(ran.out)


def test_rows_that_are_given_are_those_of_a_file(path: Path, tmp_path: Path) -> None:
    call, _ = CALLS["bench"]
    file = tmp_path / "rows.jsonl"
    file.write_text(jsonl(*traces()))
    with Automix.from_profile(path) as automix:
        of_file, of_rows = call(automix, file), call(automix, iter(traces()))
    assert of_rows["source"] == "rows"
    ours = {"source", "sha256"}
    assert {k: v for k, v in of_rows.items() if k not in ours} == {
        k: v for k, v in of_file.items() if k not in ours
    }


def right(call: Call) -> str:
    """Sums, of which the small model knows those of even numbers."""
    if "Verification Decision" in call.prompt:
        return "Verification Decision: The AI generated answer is Correct."
    number = int(call.prompt.split()[-1])
    return str(number + 1 if call.model == "small" and number % 2 else number)


def sums(count: int) -> list[dict[str, Any]]:
    return [{"question": f"Say {n}", "expected": str(n)} for n in range(count)]


def test_questions_are_asked_in_a_running_loop_and_the_router_is_written(tmp_path: Path) -> None:
    notes: list[str] = []

    async def main(automix: Automix) -> list[dict[str, Any]]:
        first = automix.calibrate(sums(30), output=tmp_path / "written.yaml", folds=3)
        asked = len(server.calls)
        second = await automix.abench(sums(30), policies="threshold")
        assert len(server.calls) == asked > 60, "what is in the cache is not asked again"
        return [first, second]

    with Loopback(right) as server:
        path = profile(tmp_path, server.url)
        with Automix.from_profile(path, note=notes.append) as automix:
            rows = asyncio.run(main(automix))
    assert [row["rows"] for row in rows] == [30, 30]
    assert "router" in yaml.safe_load((tmp_path / "written.yaml").read_text())
    assert any(line.startswith("spent $") for line in notes)


def test_one_budget_holds_for_questions_and_for_calibration(tmp_path: Path) -> None:
    with (
        Loopback(right) as server,
        Automix.from_profile(profile(tmp_path, server.url), no_cache=True, max_cost=0.02) as automix,
    ):
        with pytest.raises(BudgetError):
            automix.calibrate(sums(400))
        assert automix.ask("Say 7").status == "skipped"


def test_what_cannot_be_used_is_refused(path: Path) -> None:
    wrong: Any = {"polices": "all"}
    with Automix.from_profile(path) as automix:
        with pytest.raises(TypeError, match="no option 'polices'; did you mean policies"):
            automix.bench(traces(), **wrong)
        with pytest.raises(UsageError, match="folds: expected a number from 3 to 20, got 1"):
            automix.calibrate(traces(), folds=1)
        with pytest.raises(UsageError, match=r"kind: expected one of pomdp, .*, got 'nearest'"):
            automix.calibrate(traces(), kind="nearest")  # type: ignore[typeddict-item]
        with pytest.raises(UsageError, match="exclude each other"):
            automix.bench(traces(), keep=0.9, budget=1.0)
        with pytest.raises(UsageError, match="stdin"):
            automix.bench("-")
        with pytest.raises(DataError, match="there are no rows"):
            automix.calibrate([])
    with pytest.raises(UsageError, match="this Automix is closed"):
        automix.calibrate(traces())


def test_a_gate_that_is_missed_has_the_report_and_one_that_is_met_returns_it(
    path: Path, tmp_path: Path
) -> None:
    rows, worse = traces(120), traces(120)
    for row in worse:
        for tier in row["tiers"].values():
            tier["score"] = 0
    file = tmp_path / "rows.jsonl"
    file.write_text(jsonl(*rows))
    ran = command("bench", file, "--policies", "threshold", "-o", tmp_path / "main")
    assert ran.code == 0, ran.err
    gate: Any = {"policies": "threshold", "against": tmp_path / "main", "fail_under": "quality_delta>=-0.5"}
    with Automix.from_profile(path) as automix:
        report = automix.bench(rows, **gate)
        assert report["against"]["changes"][0]["verdict"] == "met"
        with pytest.raises(GateError, match=r"threshold.quality_delta: -.*is missed") as caught:
            automix.bench(worse, **gate)
        assert caught.value.report["against"]["changes"][0]["verdict"] == "missed"
        with pytest.raises(UsageError, match="compares two runs"):
            automix.bench(rows, policies="threshold", fail_under="quality_delta>=0")


def test_a_certificate_is_that_of_the_command(path: Path, tmp_path: Path) -> None:
    rows = traces(200)
    file = tmp_path / "rows.jsonl"
    file.write_text(jsonl(*rows))
    options = (
        "--profile",
        path,
        "--keep",
        "0.8",
        "--certify",
        "0.9",
        "--folds",
        "3",
        "-o",
        tmp_path / "own.yaml",
    )
    ran = command("calibrate", file, *options, "--json")
    notes: list[str] = []
    with Automix.from_profile(path, note=notes.append) as automix:
        report = automix.calibrate(rows, keep=0.8, certify=0.9, folds=3)
        assert report["certificate"] == json.loads(ran.out)["certificate"] is not None
        with pytest.raises(GateError, match="12 questions cannot certify"):
            automix.calibrate(sums(12), certify=0.95)
