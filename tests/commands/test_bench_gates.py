"""`automix bench --against`: a run against an earlier one, the summary of a CI job, and the workflow."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from known import draw_rows, two_tiers
from shell import PATIENCE, ROOT, Ran, automix, environment, jsonl, warm_command

QUICK = ("--policies", "threshold")


def rows_of(count: int = 160) -> list[dict[str, Any]]:
    return [{**row, "question": f"What is {row['id']}?"} for row in draw_rows(two_tiers(), count, 0)]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with traces and the run on them."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "traces.jsonl").write_text(jsonl(*rows_of()), encoding="utf-8")
    ran = automix("bench", folder / "traces.jsonl", *QUICK, "--runs", "chosen", "-o", folder / "main")
    assert ran.code == 0, ran.err
    return folder


def against(folder: Path, *args: str | Path, traces: str = "traces.jsonl") -> Ran:
    return automix("bench", folder / traces, *QUICK, "--against", folder / "main", *args)


def test_a_run_against_itself_is_met_or_too_small_to_tell(earlier: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    gate = ("--fail-under", "quality_delta>=-0.1,cost_ratio<=1,quality_delta>=-0.01")
    ran = against(earlier, *gate, "--summary", summary, "--json", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    own = ran.rows[0]["against"]
    assert (own["rows"], own["only_here"], own["only_there"], own["losses"]) == (80, 0, 0, [])
    assert [change["verdict"] for change in own["changes"]] == ["met", "met", "cannot tell"]
    assert own["changes"][2]["more_rows"] > 200
    assert "warning: threshold.quality_delta: +0.0 points" in ran.err
    assert "more rows may tell" in ran.err
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n### automix bench: ")
    assert text.count("✅ met") == 2
    assert text.count("⚠️ cannot be told: about") == 1
    assert "quality\\_delta" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    needed = against(earlier, *gate, "--require-proof")
    assert needed.code == 5
    assert ">= -1 points cannot be told" in needed.err


def test_a_run_that_got_worse_exits_5_and_names_what_was_lost(earlier: Path, tmp_path: Path) -> None:
    worse = [{**row, "tiers": {n: {**t, "score": 0} for n, t in row["tiers"].items()}} for row in rows_of()]
    rows = [own if i % 2 else row for i, (own, row) in enumerate(zip(worse, rows_of(), strict=True))]
    (earlier / "worse.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    summary = tmp_path / "summary.md"
    gate = ("--fail-under", "always:medium.quality_delta>=-0.01@95", "--summary", summary)
    ran = against(earlier, *gate, traces="worse.jsonl")
    assert ran.code == 5
    assert re.search(r"always:medium\.quality_delta: -4\d\.\d points .*: >= -1 points is missed", ran.err)
    text = summary.read_text(encoding="utf-8")
    assert "❌ missed" in text
    assert "Lost most, by id, in points:" in text


def test_without_a_gate_the_change_is_shown_and_nothing_fails(earlier: Path) -> None:
    ran = against(earlier, "--seed", "1")
    assert ran.code == 0, ran.err
    assert re.search(r"rows? in both, \d+ only here, \d+ only there, other seeds", ran.out)
    assert "threshold.cost_delta: " in ran.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--against", "none"), "--against none: No such file"),
        (("--fail-under", "quality_delta>=0"), "quality_delta compares two runs"),
        (("--require-proof",), "--require-proof goes with a gate that compares two runs"),
        (("--summary", ""), "--summary names no file"),
        (("--summary", "."), "no file can be written there"),
    ],
)
def test_what_cannot_be_compared_is_refused(args: tuple[str, ...], message: str, earlier: Path) -> None:
    ran = automix("bench", "traces.jsonl", *QUICK, *args, cwd=earlier)
    assert ran.code == 2
    assert message in ran.err
    assert not ran.out


# ------------------------------------------------------------------ the workflow


def workflow() -> dict[str, Any]:
    page = (ROOT / "docs" / "ci-gate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 1
    return dict(yaml.safe_load(blocks[0]))


def run_step(name: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command of a step, as a shell runs it."""
    steps = workflow()["jobs"]["bench"]["steps"]
    command = next(step["run"] for step in steps if step.get("name") == name)
    path = f"{Path(warm_command()[0]).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PROFILE": "demo", "QUESTIONS": "questions.jsonl", "PATH": path, **env}
    return subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env=environment(AUTOMIX_CACHE_DIR=str(folder / "cache"), **own),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_workflow_runs_and_its_second_run_makes_no_call(tmp_path: Path) -> None:
    """On the simulated tiers."""
    rows = (ROOT / "profiles" / "demo-questions.jsonl").read_text(encoding="utf-8").splitlines()[:80]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    first = run_step("Run of main", tmp_path)
    assert first.returncode == 0, first.stderr
    assert "spent $0." in first.stderr
    second = run_step("Gate", tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert second.returncode == 0, second.stderr
    assert "spent $0 on calls" in second.stderr
    assert "pomdp.cost_ratio: 1.000 (95 %: 1.000 to 1.000): <= 1.1 is met" in second.stdout
    assert "| pomdp.cost\\_ratio | 1.000" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    lines = (tmp_path / "main" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if '"role":"chosen' in line)
    others = [json.dumps({**json.loads(line), "key": "0" * 16}) + "\n"]
    (tmp_path / "main" / "runs.jsonl").write_text("".join(others), encoding="utf-8")
    refused = run_step("Gate", tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert refused.returncode == 2
    assert "none of these questions is in it" in refused.stderr
