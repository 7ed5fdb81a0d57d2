"""`automix audit` from a shell: what it prints, writes and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from shell import ROOT, Ran, automix

QUESTIONS = ROOT / "profiles" / "demo-questions.jsonl"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that `ask` wrote on the demo tiers; half of the rows were compared."""
    folder = tmp_path_factory.mktemp("answers")
    questions, path = folder / "questions.jsonl", folder / "answers.jsonl"
    questions.write_text("\n".join(QUESTIONS.read_text("utf-8").split("\n")[:60]), "utf-8")
    assert automix("ask", "--profile", "demo", "-i", questions, "-o", path, "--shadow", "0.5").code == 0
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_it_says_first_how_many_answers_differ_then_what_is_lost_and_saved(answers: Path) -> None:
    ran = automix("audit", answers, "--profile", "demo")
    shadows = [row["shadow"] for row in rows_of(answers) if "shadow" in row]
    differing = sum(shadow["equal"] is False for shadow in shadows)
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert lines[0].startswith(f"{differing} of {len(shadows)} rows compared differ from large")
    assert lines[1].startswith("so at most ")
    assert f"({len(shadows)} compared)" in lines[1]
    assert any("large alone would have cost on 60 rows" in line for line in lines)
    assert f"{differing} of {differing} differing rows scored" in ran.out  # the demo's rows are labelled


def test_json_holds_the_same(answers: Path) -> None:
    [result] = automix("audit", answers, "--json").rows
    assert (result["schema"], result["baseline"], result["rows"]) == ("automix.audit/1", "large", 60)
    assert (
        result["windows"][0]["n"]
        == result["compared"]
        == len([row for row in rows_of(answers) if "shadow" in row])
    )
    assert result["windows"][0]["loss"] is None  # nobody said how to score them
    assert len(result["to_label"]) == result["windows"][0]["differing"]
    assert result["savings"]["shadow"] == pytest.approx(
        sum(row.get("shadow", {}).get("cost_usd", 0.0) for row in rows_of(answers))
    )


def test_rows_to_label_are_written_with_both_answers(answers: Path, tmp_path: Path) -> None:
    path = tmp_path / "to-label.jsonl"
    ran = automix("audit", answers, "-o", path)
    rows = rows_of(path)
    assert f"({len(rows)} rows to label)" in ran.err
    assert rows
    assert all(set(row["tiers"]) == {"small", "large"} for row in rows)
    assert automix("audit", answers, "-o", path).code == 2
    assert automix("audit", answers, "-o", path, "--force").code == 0


def changed(answers: Path, path: Path) -> Ran:
    """An audit of rows that all differ, beside a fit in which none did."""
    rows = rows_of(answers)
    for row in rows:
        row.get("shadow", {})["equal"] = False
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    profile = path.with_name("automix.yaml")
    profile.write_text(
        "version: 1\nname: demo\nextends: demo\nrouter: {kind: self-consistency, fitted: "
        "{differing: {large: [0, 500]}, rates: {escalated: [130, 500]}}}\n",
        "utf-8",
    )
    sha = automix("ask", "--profile", profile, "--json", "What is 2 + 2?").rows[0]["profile_sha"]
    path.write_text("".join(f"{json.dumps({**row, 'profile_sha': sha})}\n" for row in rows), "utf-8")
    return automix("audit", path, "--profile", profile, "--check")


def test_check_exits_5_where_more_rows_differ_than_when_fitted(answers: Path, tmp_path: Path) -> None:
    ran = changed(answers, tmp_path / "changed.jsonl")
    assert ran.code == 5
    assert "WARNING: more rows differ from large than when fitted" in ran.out
    assert "no longer as they were" in ran.err


def test_another_profile_than_the_one_that_wrote_the_rows_is_not_compared(answers: Path) -> None:
    rows = answers.with_name("other.jsonl")
    rows.write_text(answers.read_text("utf-8").replace('"profile_sha": "', '"profile_sha": "x'), "utf-8")
    ran = automix("audit", rows, "--profile", "demo")
    assert ran.code == 0
    assert "profile demo did not write these rows" in ran.err
    assert "the profile that wrote these rows is not at hand" in ran.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ('{"question": "2 + 2?"}\n', ":1: is no row of ask"),
        ("", "none of 0 rows was compared with a baseline"),
    ],
)
def test_what_cannot_be_audited_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content, "utf-8")
    ran = automix("audit", path)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "--shadow 0.02" in ran.err or content is None


def test_files_are_pooled_where_they_tell_of_all_rows(answers: Path) -> None:
    undrawn, other = answers.with_name("undrawn.jsonl"), answers.with_name("other-share.jsonl")
    rows = rows_of(answers)
    undrawn.write_text("\n".join(json.dumps(row | {"shadow": None}) for row in rows), "utf-8")
    alone, beside = automix("audit", answers, "--json"), automix("audit", undrawn, answers, "--json")
    own = json.loads(beside.out)
    assert own.pop("files_left_out") == [str(undrawn)]
    assert own == {k: v for k, v in json.loads(alone.out).items() if k != "files_left_out"}
    text = automix("audit", undrawn, answers).out
    assert f"of all rows but those of {undrawn}, none of which was compared, do (" in text
    assert f"{undrawn}: none of its rows was compared; it is left out" in beside.err
    drawn = [row for row in rows if row.get("shadow")]
    sparse = [row | {"id": f"x{row['id']}", "shadow": row["shadow"] | {"share": 0.02}} for row in drawn]
    other.write_text("\n".join(map(json.dumps, sparse)), "utf-8")
    mixed = automix("audit", answers, other)
    assert (mixed.code, mixed.out) == (2, "")
    assert "was drawn with a share of 0.02, and rows before it of 0.5" in mixed.err
