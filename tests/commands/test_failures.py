"""Tiers that give no answer, from the calls to the figures: outcomes of the tier, never missing rows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import Call, Loopback, Reply, profile_for
from shell import Ran, automix, jsonl

from automix_cli import prompts

ROWS = 60
BROKEN = 60  # the row on which the connection is in trouble
TOO_LONG = b'{"error": {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}}'
FILTERED = b'{"error": {"message": "triggering the content management policy", "code": "content_filter"}}'
MUTE = Reply(
    texts=("",),
    finish_reason="length",
    usage={"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 140},
)
REFUSALS = {
    0: ("context_length", Reply(status=400, body=TOO_LONG), 0.0),
    4: ("content_filter", Reply(status=400, body=FILTERED), 0.0),
    8: ("no_text", MUTE, (40 * 1 + 100 * 2) / 1e6),
}
"""By the number of the question modulo 12: what the small tier fails by, and what that costs."""


def number_of(call: Call) -> int:
    return int(re.findall(r"number #(\d+)", call.prompt)[-1])


def reply(call: Call) -> Reply:
    """The small tier has no answer to a quarter of the questions, and is right on half of them."""
    k = number_of(call)
    if call.verifies:
        return Reply(texts=(prompts.decision(k % 4 != 3),) * call.n)
    if k == BROKEN and call.model == "huge":
        return Reply(status=500)
    if call.model == "tiny" and k % 12 in REFUSALS and k != BROKEN:
        return REFUSALS[k % 12][1]
    right = k % 4 != 3 if call.model == "tiny" else k % 10 != 9
    return Reply(texts=(f"value {k}" if right else "no idea",))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    folder = tmp_path_factory.mktemp("failures")
    questions = [{"id": k, "question": f"number #{k}", "expected": f"value {k}"} for k in range(ROWS + 1)]
    (folder / "q.jsonl").write_text(jsonl(*questions))
    env = {"AUTOMIX_CACHE_DIR": str(folder / "cache"), "OPENAI_API_KEY": "sk-loopback"}
    with Loopback(reply) as server:
        settings = {"task": "{scorer: exact}", "limits": "{attempts: 1}"}
        args = ("q.jsonl", "--profile", profile_for(server, folder, **settings), "--traces", "t.jsonl")
        ran = automix("calibrate", *args, "--folds", "3", cwd=folder, env=env)
    assert ran.code == 0, ran.err
    return folder, ran


def cells(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["tiers"] for line in (folder / "t.jsonl").read_text().splitlines()]


def test_rows_on_which_a_tier_has_no_answer_are_kept_with_its_kind_and_its_true_cost(
    calibrated: tuple[Path, Ran],
) -> None:
    folder, ran = calibrated
    rows = cells(folder)
    assert len(rows) == ROWS
    assert f"1 of {ROWS + 1} questions failed and are left out" in ran.err
    for k, tiers in enumerate(rows):
        kind, _, cost = REFUSALS.get(k % 12, (None, None, None))
        small = tiers["small"]
        assert small.get("failed") == kind
        assert small["score"] == (kind is None and k % 4 != 3)
        if kind:
            assert small["cost"] == pytest.approx(cost)
            assert not {"answer", "votes", "confidence"} & small.keys()
        assert tiers["large"]["score"] == (k % 10 != 9)


def test_calibrate_says_how_often_a_tier_was_mute_and_counts_it(calibrated: tuple[Path, Ran]) -> None:
    folder, ran = calibrated
    assert "small: mute on 15 of 60 rows" in ran.out
    router = yaml.safe_load((folder / "loopback.yaml").read_text())["router"]
    if router["kind"] == "pomdp":
        assert router["observations"]["small"]["failed"] == pytest.approx(15.5 / 61)
        assert "failed" not in router["observations"]["large"]
    costs = [tiers["small"]["cost"] for tiers in cells(folder)]
    cost, quality = router["fitted"]["held_out"]["always:small"]
    assert quality == pytest.approx(0.5), "and not the 0.67 of the rows that it answered"
    assert cost == pytest.approx(sum(costs) / ROWS)


def test_json_counts_the_failures_of_each_tier(calibrated: tuple[Path, Ran]) -> None:
    folder, _ = calibrated
    ran = automix("calibrate", "t.jsonl", "--folds", "3", "--json", cwd=folder)
    assert ran.code == 0, ran.err
    assert ran.rows[0]["mute"] == {"small": {"failed": 15, "rows": 60}}


def test_what_was_paid_for_rows_set_aside_is_part_of_what_the_labels_cost(
    calibrated: tuple[Path, Ran],
) -> None:
    """The broken question was answered and checked by the small tier before the large one failed."""
    folder, _ = calibrated
    env = {"AUTOMIX_CACHE_DIR": str(folder / "cache"), "OPENAI_API_KEY": "sk-loopback"}
    with Loopback(reply) as server:
        profile = profile_for(server, folder, task="{scorer: exact}", limits="{attempts: 1}")
        args = ("q.jsonl", "--profile", profile, "--folds", "3", "--json")
        ran = automix("calibrate", *args, cwd=folder, env=env)
    labels = ran.rows[0]["labels"]
    kept = sum(cost_of(cell) for tiers in cells(folder) for cell in tiers.values())
    assert 0 < labels["set_aside_usd"] < kept / 20
    assert labels["usd"] == pytest.approx(kept + labels["set_aside_usd"])


def cost_of(cell: dict[str, Any]) -> float:
    """Dollars of an answer and its votes."""
    votes = cell.get("votes") or []
    return cell["cost"] + (len(votes) * cell["vote_cost"] + cell.get("round_cost", 0) if votes else 0)


def test_without_labels_the_rows_on_which_the_labelling_tier_was_mute_are_left_out(
    calibrated: tuple[Path, Ran],
) -> None:
    folder, _ = calibrated
    args = ("--folds", "3", "--labels-from", "small", "--json")
    ran = automix("calibrate", "t.jsonl", *args, cwd=folder)
    assert ran.code == 0, ran.err
    assert "15 of 60 rows are left out: small gave no answer there" in ran.err
    assert ran.rows[0]["rows"] == 45
    labels = ran.rows[0]["labels"]
    every = sum(cost_of(cell) for tiers in cells(folder) for cell in tiers.values())
    assert labels["usd"] == pytest.approx(every), "the rows left out were paid for"
    assert labels["set_aside_usd"] > 0


def test_bench_counts_what_each_tier_did_not_answer(calibrated: tuple[Path, Ran]) -> None:
    folder, _ = calibrated
    args = ("t.jsonl", "--tiers", "small,large", "--policies", "threshold,pomdp,oracle", "-o", "out")
    ran = automix("bench", *args, cwd=folder)
    assert ran.code == 0, ran.err
    assert "note: small: mute on 15 of 60 rows" in ran.out
    assert "mute on 15 of 60 rows" in (folder / "out" / "report.md").read_text()


@pytest.mark.parametrize("command", ["calibrate", "bench"])
def test_where_no_vote_can_be_read_no_more_are_bought_and_nothing_is_written(
    tmp_path: Path, command: str
) -> None:
    rows = [{"id": k, "question": f"number #{k}", "expected": f"value {k}"} for k in range(ROWS)]
    (tmp_path / "q.jsonl").write_text(jsonl(*rows))
    env = {"AUTOMIX_CACHE_DIR": str(tmp_path / "cache"), "OPENAI_API_KEY": "sk-loopback"}
    with Loopback(lambda call: "Verdict: CORRECT" if call.verifies else "value 1") as server:
        args = (command, "q.jsonl", "--profile", profile_for(server, tmp_path), "-j", "2")
        before = (tmp_path / "loopback.yaml").read_text()
        ran, again = (automix(*args, cwd=tmp_path, env=env) for _ in range(2))
        calls = len(server.calls)
    assert (ran.code, again.code, ran.out) == (1, 1, "")
    assert 'votes of small could be read, so no more are bought. One reply: "Verdict: CORRECT"' in ran.err
    assert "automix verify --profile" in ran.err
    assert "spent $0.00" in ran.err
    assert "spent $0 on calls" in again.err, "what was bought is in the cache"
    assert calls < ROWS / 2
    assert (tmp_path / "loopback.yaml").read_text() == before
