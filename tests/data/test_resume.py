"""`ask -o FILE --resume`: what is kept, what is redone, what is refused."""

import json
from pathlib import Path

import pytest
from shell import Ran, automix, jsonl

DEMO = ("ask", "--profile", "demo")
NEVER_EQUAL = ("spent_usd", "latency_s", "usage")


QUESTIONS = jsonl(*({"id": f"q{n}", "question": f"What is {n} + {n}?"} for n in range(20)))


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "q.jsonl"
    path.write_text(QUESTIONS)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def run(questions: Path, out: Path, *args: str) -> Ran:
    return automix(*DEMO, "-i", questions, "-o", out, *args)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def comparable(path: Path) -> list[dict]:
    found = rows(path)
    for row in found:
        for step in row["route"]:
            step.pop("latency_s")
        for key in NEVER_EQUAL:
            row.pop(key)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What an uninterrupted run writes, with an order of sets of its own."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "q.jsonl").write_text(QUESTIONS)
    env = {"AUTOMIX_CACHE_DIR": str(folder / "cache"), "PYTHONHASHSEED": "1"}
    ran = automix(*DEMO, "-i", folder / "q.jsonl", "-o", folder / "out.jsonl", env=env)
    assert ran.code == 0, ran.err
    return comparable(folder / "out.jsonl")


def cut(path: Path, lines: int, torn: bytes = b"") -> None:
    kept = path.read_bytes().splitlines(keepends=True)[:lines]
    path.write_bytes(b"".join(kept) + torn)


def test_without_a_file_it_starts_one(questions: Path, out: Path, whole: list[dict]) -> None:
    assert run(questions, out, "--resume").code == 0
    assert comparable(out) == whole
    assert not out.with_name("out.jsonl.part").exists()


@pytest.mark.parametrize(
    "torn", [b"", b'{"schema": "automix.ask/1", "id": "q7", "ans', b'{"schema": "auto\xc3']
)
def test_finished_rows_are_kept_and_the_others_done_in_order(
    torn: bytes, questions: Path, out: Path, whole: list[dict]
) -> None:
    run(questions, out)
    cut(out, 7, torn)
    before = out.read_bytes().splitlines()[:7]
    ran = run(questions, out, "--resume")
    assert ran.code == 0
    assert comparable(out) == whole
    assert out.read_bytes().splitlines()[:7] == before
    assert "7 rows kept" in ran.err
    assert ("1 torn" in ran.err) is bool(torn)


def test_a_whole_last_line_without_its_end_is_kept(questions: Path, out: Path, whole: list[dict]) -> None:
    run(questions, out)
    cut(out, 5)
    out.write_bytes(out.read_bytes().removesuffix(b"\n"))
    assert "5 rows kept" in run(questions, out, "--resume").err
    assert comparable(out) == whole


def test_failed_and_skipped_rows_are_done_again(questions: Path, out: Path, whole: list[dict]) -> None:
    run(questions, out)
    found = rows(out)
    for row, status in ((found[2], "error"), (found[3], "skipped")):
        row |= {"status": status, "answer": None}
    out.write_text(jsonl(*found))
    assert "2 failed or skipped before" in run(questions, out, "--resume").err
    assert comparable(out) == whole


def test_rows_whose_input_changed_are_done_again(questions: Path, out: Path) -> None:
    run(questions, out)
    lines = questions.read_text().replace("What is 4 + 4?", "What is 40 + 4?")
    questions.write_text(lines)
    ran = run(questions, out, "--resume")
    assert "19 rows kept" in ran.err
    assert "1 with changed input" in ran.err
    assert rows(out)[4]["question"] == "What is 40 + 4?"


def test_new_rows_are_added_and_rows_no_longer_asked_for_leave(questions: Path, out: Path) -> None:
    run(questions, out)
    kept = questions.read_text().splitlines(keepends=True)[10:]
    questions.write_text(jsonl({"id": "new", "question": "What is 3 + 3?"}) + "".join(kept))
    ran = run(questions, out, "--resume")
    assert ran.code == 0
    assert "10 rows kept; left out: 10 no longer asked for" in ran.err
    assert [row["id"] for row in rows(out)] == ["new", *(f"q{n}" for n in range(10, 20))]


def test_what_a_killed_resume_left_is_read_as_well(questions: Path, out: Path, whole: list[dict]) -> None:
    run(questions, out)
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:4]))
    out.with_name("out.jsonl.part").write_bytes(b"".join(lines[:9]) + lines[9][:30])
    ran = run(questions, out, "--resume")
    assert "9 rows kept" in ran.err
    assert comparable(out) == whole
    assert sorted(p.name for p in out.parent.glob("out.jsonl*")) == ["out.jsonl"]


def test_only_a_part_is_enough_to_go_on(questions: Path, out: Path, whole: list[dict]) -> None:
    run(questions, out)
    cut(out, 6)
    out.rename(out.with_name("out.jsonl.part"))
    assert "6 rows kept" in run(questions, out, "--resume").err
    assert comparable(out) == whole


def test_a_finished_file_is_left_as_it_is(questions: Path, out: Path) -> None:
    run(questions, out)
    before = out.read_bytes()
    ran = run(questions, out, "--resume")
    assert ran.code == 0
    assert "20 rows kept" in ran.err
    assert out.read_bytes() == before


def test_rows_of_another_profile_are_refused(questions: Path, out: Path) -> None:
    run(questions, out)
    before = out.read_bytes()
    ran = automix("ask", "--tiers", "demo/small,demo/large", "-i", questions, "-o", out, "--resume")
    assert ran.code == 2
    assert "another profile" in ran.err
    assert out.read_bytes() == before


def test_rows_of_another_input_are_refused(questions: Path, out: Path) -> None:
    run(questions, out)
    questions.write_text(jsonl({"id": "other", "question": "What is 3 + 3?"}))
    ran = run(questions, out, "--resume")
    assert ran.code == 2
    assert "no id in common" in ran.err


def test_a_line_in_the_middle_that_is_no_row_is_named(questions: Path, out: Path) -> None:
    run(questions, out)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text(lines[0] + "garbage\n" + lines[1])
    ran = run(questions, out, "--resume")
    assert ran.code == 2
    assert f"{out}:2: is no row of automix ask" in ran.err


@pytest.mark.parametrize("args", [("--force",), ("--unordered",)])
def test_options_that_contradict_it_are_refused(args: tuple[str, ...], questions: Path, out: Path) -> None:
    assert run(questions, out, "--resume", *args).code == 2


def test_it_needs_rows_and_a_file(questions: Path) -> None:
    assert automix(*DEMO, "-i", questions, "--resume").code == 2
    assert automix(*DEMO, "--resume", "What is 2 + 2?").code == 2
