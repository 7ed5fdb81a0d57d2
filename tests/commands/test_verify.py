"""`automix verify` from a shell: what it prints, what it buys, what it refuses."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from loopback import Call, Loopback, Reply, profile_for
from shell import ROOT, Ran, automix, jsonl

from automix_cli.views.lines import money

Run = Callable[..., Ran]
DEMO = ("verify", "--profile", "demo")
QUESTIONS = ROOT / "profiles" / "demo-questions.jsonl"
SINGLE = ("--question", "9 + 9?", "--answer", "18")
VERIFY_KEYS = {
    *("schema", "id", "index", "status", "tier", "signal", "votes", "confidence", "calibrated", "verdict"),
    "calibrated_on",
    *("question", "answer", "usage", "cost_usd", "spent_usd", "error", "input_sha", "profile_sha"),
}


def mixed(call: Call) -> Reply:
    """Six verdicts say Correct, then two Incorrect, by the number of the choice."""
    texts = tuple(
        f"Because.\nVerification Decision: The AI generated answer is {'Correct' if i < 6 else 'Incorrect'}."
        for i in range(call.n)
    )
    return Reply(texts=texts)


# ---------------------------------------------------------------- one answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a profile and the cache that goes with it."""
    return tmp_path_factory.mktemp("judged")


@pytest.fixture
def verify(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Verifies an answer whose eight verdicts, six of them Correct, are in a cache already."""
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(folder / "cache"))
    if not (folder / "cache").exists():
        (folder / "cache").mkdir(mode=0o700)
        with Loopback(mixed) as server:
            assert automix("verify", "--profile", profile_for(server, folder), *SINGLE).code == 0
    return partial(automix, "verify", "--profile", folder / "loopback.yaml", *SINGLE)


def test_a_person_reads_confidence_verdict_and_votes(verify: Run) -> None:
    ran = verify()
    assert (ran.code, ran.out) == (0, "0.75 correct (6 of 8 votes; small)\n")


def test_json_prints_one_row_and_explain_adds_the_reasons(verify: Run) -> None:
    [row] = verify("--json").rows
    [told] = verify("--json", "--explain").rows
    assert set(row) == VERIFY_KEYS
    assert (row["schema"], row["verdict"], row["confidence"]) == ("automix.verify/1", "correct", 0.75)
    assert row["votes"] == {"correct": 6, "incorrect": 2, "unparsed": 0}
    assert [r["verdict"] for r in told["reasons"]].count("INCORRECT") == 2
    assert told["reasons"][0]["text"].startswith("Because.")


def test_the_demo_trusts_a_right_answer_more_than_a_wrong_one() -> None:
    def confidence(answer: str) -> float:
        asked = ("--question", "What is 17 * 23?", "--answer", answer)
        return automix(*DEMO, *asked, "--json").rows[0]["confidence"]

    assert confidence("391") > 0.5 > confidence("401")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--check",), 0),
        (("--check", "--threshold", "0.75"), 0),
        (("--check", "--threshold", "0.76"), 5),
        (("--threshold", "0.76"), 0),
    ],
)
def test_check_is_a_gate_at_the_threshold(args: tuple[str, ...], code: int, verify: Run) -> None:
    ran = verify(*args)
    assert ran.code == code
    assert ("incorrect" in ran.out) is ("0.76" in args)


def test_no_readable_vote_is_no_evidence_and_fails_a_check(tmp_path: Path) -> None:
    with Loopback(lambda call: "I would rather not say.") as server:
        ran = automix("verify", "--profile", profile_for(server, tmp_path), *SINGLE, "--check")
    assert ran.code == 5
    assert ran.out == "no evidence (0 of 0 votes, 8 unparsed; small)\n"
    assert "no vote could be read: its last line should be" in ran.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--question", "q"), "--answer"),
        (("--answer", "a"), "--question"),
        (("--question", " ", "--answer", "a"), "empty"),
        ((*SINGLE, "--tier", "smal"), "small"),
        ((*SINGLE, "--votes", "0"), "--votes"),
        ((*SINGLE, "--signal", "vibes"), "--signal"),
        ((), "Usage"),
    ],
)
def test_what_cannot_be_meant_exits_2(args: tuple[str, ...], message: str) -> None:
    ran = automix(*DEMO, *args)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


# ---------------------------------------------------------------- what it buys


def test_eight_votes_are_bought_once_and_twelve_cost_four_more(tmp_path: Path) -> None:
    with Loopback(mixed) as server:
        args = ("verify", "--profile", profile_for(server, tmp_path), *SINGLE, "--json")
        first = automix(*args, "--votes", "8").rows[0]
        assert [(e.n, e.model) for e in server.calls] == [(8, "tiny")]
        again = automix(*args, "--votes", "8").rows[0]
        assert len(server.calls) == 1
        more = automix(*args, "--votes", "12").rows[0]
        assert [e.n for e in server.calls] == [8, 4]
    assert first["spent_usd"] > 0 == again["spent_usd"]
    assert again["cost_usd"] == pytest.approx(first["cost_usd"])
    assert 0 < more["spent_usd"] < more["cost_usd"]
    assert sum(more["votes"].values()) == 12


def test_where_a_server_gives_fewer_choices_the_rest_are_calls_of_their_own(tmp_path: Path) -> None:
    verdict = "Verification Decision: The AI generated answer is Correct."
    with Loopback(lambda call: Reply(texts=(verdict, verdict)[: call.n])) as server:
        [row] = automix(
            "verify", "--profile", profile_for(server, tmp_path), *SINGLE, "--votes", "5", "--json"
        ).rows
        assert [e.n for e in server.calls] == [5, 1, 1, 1]
    assert row["votes"]["correct"] == 5
    assert row["usage"]["calls"] == 4


def test_the_log_probability_of_a_verdict_takes_one_call(tmp_path: Path) -> None:
    with Loopback() as server:
        ran = automix(
            "verify", "--profile", profile_for(server, tmp_path), *SINGLE, "--signal", "logprob", "--json"
        )
        assert [e.n for e in server.calls] == [1]
    [row] = ran.rows
    assert row["signal"] == "logprob"
    assert 0 <= row["confidence"] <= 1


def test_answers_with_log_probabilities_of_their_own_need_no_verification_call(tmp_path: Path) -> None:
    with Loopback() as server:
        profile = profile_for(server, tmp_path, verification="{signal: logprob, logprob_of: answer}")
        [row] = automix("ask", "--profile", profile, "--json", "one").rows
        small = [e for e in server.calls if e.model == "tiny"]
        assert len(small) == 1
        refused = automix("verify", "--profile", profile, *SINGLE)
    assert 0 <= row["route"][0]["confidence"] <= 1
    assert refused.code == 2
    assert "--signal votes" in refused.err


def test_a_signal_that_the_provider_lacks_is_refused_before_anything_is_spent() -> None:
    ran = automix(
        *("verify", "--tiers", "anthropic/claude-haiku-4-5", *SINGLE, "--signal", "logprob"),
        env={"ANTHROPIC_API_KEY": "canary"},
    )
    assert (ran.code, ran.out) == (2, "")
    for word in ("log-probabilities", "votes", "consistency"):
        assert word in ran.err


# ---------------------------------------------------------------- rows


def test_what_ask_wrote_is_what_verify_reads(tmp_path: Path) -> None:
    asked = automix("ask", "--profile", "demo", "--limit", "40", stdin=QUESTIONS.read_bytes())
    found = automix(*DEMO, stdin=asked.out)
    assert found.code == 0
    assert [row["id"] for row in found.rows] == [row["id"] for row in asked.rows]
    assert all(set(row) == VERIFY_KEYS and row["status"] == "ok" for row in found.rows)
    for key in ("tier", "question", "answer"):
        assert [row[key] for row in found.rows] == [row[key] for row in asked.rows]
    again = automix(*DEMO, stdin=found.out)
    assert [row["votes"] for row in again.rows] == [row["votes"] for row in found.rows]


def test_context_and_choices_travel_from_ask_to_verify(tmp_path: Path) -> None:
    prompts: list[str] = []

    def reply(call: Call) -> str:
        prompts.append(call.messages[-1]["content"])
        return "Correct" if call.verifies else "A"

    row = {"question": "Which?", "context": "The first one.", "choices": ["first", "second"]}
    with Loopback(reply) as server:
        profile = profile_for(server, tmp_path)
        asked = automix("ask", "--profile", profile, stdin=jsonl(row))
        before = len(prompts)
        [verified] = automix("verify", "--profile", profile, "--no-cache", stdin=asked.out).rows
    assert (verified["context"], verified["choices"]) == (row["context"], row["choices"])
    assert "The first one." in prompts[before]
    assert "B. second" in prompts[before]


def test_rows_without_an_answer_are_errors_and_an_empty_answer_is_an_answer() -> None:
    rows = [
        {"question": "What is 2 + 2?", "answer": "4", "id": "ok"},
        {"question": "What is 2 + 2?", "answer": "", "id": "empty"},
        {"question": "What is 2 + 2?", "answer": None, "id": "null"},
        {"question": "What is 2 + 2?", "id": "none"},
        {"question": "What is 2 + 2?", "answer": None, "status": "error", "id": "error"},
        {"answer": "4", "id": "no question"},
        {"question": "What is 2 + 2?", "answer": ["4"], "id": "list"},
    ]
    ran = automix(*DEMO, stdin=jsonl(*rows) + "{oops\n")
    assert ran.code == 3
    assert [row["status"] for row in ran.rows] == ["ok"] * 2 + ["error"] * 6
    assert [row["id"] for row in ran.rows[:7]] == [row["id"] for row in rows]
    assert all(row["error"]["message"].startswith("line ") for row in ran.rows[2:])
    assert ran.rows[1]["verdict"] in ("incorrect", "none")


def test_a_gate_that_saw_no_answer_is_not_met() -> None:
    ran = automix(*DEMO, "--check", stdin="")
    assert ran.code == 5
    assert "no answer came in" in ran.err
    assert automix(*DEMO, stdin="").code == 0


def test_check_over_rows_says_how_many_are_below() -> None:
    rows = jsonl(
        {"question": "What is 2 + 2?", "answer": "4"}, {"question": "What is 2 + 2?", "answer": "900"}
    )
    ran = automix(*DEMO, "--check", stdin=rows)
    assert ran.code == 5
    assert len(ran.rows) == 2
    assert "1 answer is below" in ran.err


def test_what_failed_is_said_once_per_kind_with_the_first() -> None:
    ran = automix(*DEMO, stdin=jsonl({"question": "What is 2 + 2?"}, {"question": "What is 3 + 2?"}))
    assert ran.code == 3
    assert "2 errors" in ran.err
    assert "  2 × invalid_input, the first: line 1: answer: expected text, got nothing" in ran.err


def test_a_tier_can_be_named_for_all_rows() -> None:
    rows = jsonl({"question": "What is 2 + 2?", "answer": "4", "tier": "large"})
    assert automix(*DEMO, stdin=rows).rows[0]["tier"] == "large"
    assert automix(*DEMO, "--tier", "small", stdin=rows).rows[0]["tier"] == "small"


def test_a_row_of_a_tier_that_is_not_there_is_an_error_that_names_those_there_are() -> None:
    row = {"question": "What is 2 + 2?", "answer": "4"}
    ran = automix(*DEMO, stdin=jsonl(*({**row, "tier": tier} for tier in ("huge", 3, None, "small"))))
    assert ran.code == 3
    assert [r["tier"] for r in ran.rows] == ["huge", "3", "small", "small"]
    assert [r["status"] for r in ran.rows] == ["error", "error", "ok", "ok"]
    wrong = ran.rows[0]["error"]
    assert wrong["type"] == "invalid_input"
    assert wrong["message"] == "line 1: tier: no tier 'huge' in profile demo (small, large); see --tier"
    assert automix(*DEMO, "--tier", "large", stdin=jsonl({**row, "tier": "huge"})).rows[0]["tier"] == "large"


def test_a_dash_is_stdout_and_without_rows_the_reason_is_said(tmp_path: Path) -> None:
    row = jsonl({"question": "What is 2 + 2?", "answer": "4"})
    ran = automix(*DEMO, "-o", "-", stdin=row, cwd=tmp_path)
    assert (ran.code, len(ran.rows)) == (0, 1)
    assert not (tmp_path / "-").exists()
    mute = automix(*DEMO, cwd=tmp_path)
    assert (mute.code, mute.out) == (2, "")
    assert mute.err.endswith("\nautomix: no answer was given, and stdin is empty\n")


def test_rows_go_to_a_file_that_is_not_overwritten(tmp_path: Path) -> None:
    out, rows = tmp_path / "v.jsonl", jsonl({"question": "What is 2 + 2?", "answer": "4"})
    assert automix(*DEMO, "-o", out, stdin=rows).code == 0
    assert json.loads(out.read_text())["verdict"] == "correct"
    assert automix(*DEMO, "-o", out, stdin=rows).code == 2


# ---------------------------------------------------------------- before, under and after a cap

ANSWERS = jsonl(*({"id": f"a{n}", "question": f"What is {n} + {n}?", "answer": f"{2 * n}"} for n in range(8)))
NEVER_EQUAL = ("spent_usd", "usage")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text(ANSWERS)
    return path


def comparable(path: Path) -> list[dict]:
    """The rows without what no two runs share."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in NEVER_EQUAL} for row in rows]


def test_a_dry_run_counts_votes_and_dollars_and_sends_nothing(tmp_path: Path, answers: Path) -> None:
    with Loopback(mixed) as server:
        profile = profile_for(server, tmp_path)
        args = ("verify", "--profile", profile, "-i", answers, "--limit", "3", "--votes", "5")
        [plan] = automix(*args, "--dry-run", "--json").rows
        assert not server.calls
        real = automix(*args).rows
    assert (plan["answers"], len(real)) == (3, 3)
    assert [plan[case]["calls"] for case in ("low", "expected", "worst")] == [15] * 3
    assert 0 < plan["low"]["usd"] < plan["expected"]["usd"] < plan["worst"]["usd"]
    assert sum(row["cost_usd"] for row in real) <= plan["worst"]["usd"]


@pytest.mark.parametrize(
    ("signal", "calls"),
    [("votes", 8), ("logprob", 1), ("consistency", 8)],
    ids=["votes", "logprob", "samples"],
)
def test_a_dry_run_of_one_answer_counts_what_its_signal_buys(signal: str, calls: int) -> None:
    [plan] = automix(*DEMO, *SINGLE, "--signal", signal, "--dry-run", "--json").rows
    assert (plan["answers"], plan["worst"]["calls"]) == (1, calls)


def test_a_dry_run_says_what_it_costs_that_each_tier_checks_its_own_answers() -> None:
    rows = [
        {"question": f"What is {n} + 2?", "answer": "4", "tier": tier, "cost_usd": 0.001}
        for n, tier in enumerate(["small", "small", "large"])
    ]
    bad = {"question": "Who?", "tier": "huge", "answer": "4"}
    ran = automix(*DEMO, "--dry-run", stdin=jsonl(*rows, bad))
    [plan] = automix(*DEMO, "--dry-run", "--json", stdin=jsonl(*rows, bad)).rows
    [by_small] = automix(*DEMO, "--dry-run", "--json", "--tier", "small", stdin=jsonl(*rows)).rows
    tiers = plan["tiers"]
    assert {name: row["answers"] for name, row in tiers.items()} == {"small": 2, "large": 1}
    assert sum(row["usd"] for row in tiers.values()) == pytest.approx(plan["expected"]["usd"])
    assert plan["cheapest"] == {"tier": "small", "usd": pytest.approx(by_small["expected"]["usd"])}
    assert plan["answers_usd"] == pytest.approx(0.003)
    dear, cheap = (money(own["usd"]) for own in (tiers["large"], by_small["expected"]))
    assert f"large {dear} (1 answer); all by small {cheap} (--tier small)" in ran.out
    assert f"{plan['expected']['usd'] / 0.003:.1f} times what the answers cost ($0.003)" in ran.out


def test_a_cap_skips_rows_and_a_resumed_run_buys_only_those(tmp_path: Path, answers: Path) -> None:
    out, whole = tmp_path / "v.jsonl", tmp_path / "whole.jsonl"
    with Loopback(mixed) as server:
        args = ("verify", "--profile", profile_for(server, tmp_path), "-i", answers, "-j", "1", "-o")
        assert automix(*args, whole, "--no-cache").code == 0
        each = sum(json.loads(line)["cost_usd"] for line in whole.read_text().splitlines()) / 8
        calls = len(server.calls)
        worst = automix(*args, out, "--limit", "1", "--dry-run", "--json").rows[0]["worst"]["usd"]
        capped = automix(*args, out, "--max-cost", f"{worst + 2.5 * each}")
        n_votes = len(server.calls) - calls
        again = automix(*args, out, "--resume")
        assert len(server.calls) - calls == 8
    assert capped.code == 4
    assert 0 < n_votes < 8
    assert f"{8 - n_votes} skipped" in capped.err
    assert f"stopped by --max-cost: {8 - n_votes} rows skipped" in capped.err
    assert "go on with: automix verify" in capped.err
    assert again.code == 0
    assert f"{n_votes} rows kept; redone: {8 - n_votes} failed or skipped before" in again.err
    assert comparable(out) == comparable(whole)


@pytest.mark.parametrize(
    ("args", "rows"),
    [
        ((), 0),
        (("--threshold", "0.9"), 8),
        (("--votes", "5"), 8),
        (("--tier", "large"), 8),
        (("--explain",), 8),
    ],
    ids=["nothing", "threshold", "votes", "tier", "reasons"],
)
def test_a_resumed_run_keeps_rows_that_were_verified_in_the_same_way(
    args: tuple[str, ...], rows: int, answers: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "v.jsonl", tmp_path / "whole.jsonl"
    assert automix(*DEMO, "-i", answers, "-o", out).code == 0
    ran = automix(*DEMO, "-i", answers, "-o", out, "--resume", *args)
    assert f"{8 - rows} rows kept" in ran.err
    assert ("with changed input" in ran.err) is bool(rows)
    assert automix(*DEMO, "-i", answers, "-o", whole, *args).code == 0
    assert comparable(out) == comparable(whole)


def test_rows_that_are_kept_count_at_the_gate(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    answers.write_text(ANSWERS + jsonl({"id": "wrong", "question": "What is 2 + 2?", "answer": "900"}))
    args = (*DEMO, "-i", answers, "-o", out, "--check")
    for more in ((), ("--resume",)):
        ran = automix(*args, *more)
        assert ran.code == 5
        assert "1 answer is below" in ran.err


def test_the_rows_of_another_command_or_profile_are_not_continued(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    assert automix(*DEMO, "-i", answers, "-o", out).code == 0
    asked = automix("ask", "--profile", "demo", "-i", answers, "-o", out, "--resume")
    assert (asked.code, "is no row of automix ask" in asked.err) == (2, True)
    other = automix(*DEMO, "-i", answers, "-o", out, "--resume", "--signal", "consistency")
    assert (other.code, "written with another profile or other settings" in other.err) == (2, True)
    assert automix(*DEMO, "-i", answers, "-o", out, "--force").code == 0
    single = automix(*DEMO, *SINGLE, "-o", tmp_path / "one", "--resume")
    assert (single.code, "--resume goes with rows and -o FILE" in single.err) == (2, True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((*SINGLE, "--limit", "1"), "--limit picks from rows; this is one answer"),
        ((*SINGLE, "--max-cost", "0"), "could exceed --max-cost $0"),
        ((*SINGLE, "--max-cost", "0"), "the cap of $0 is below what one call for 8 votes of small may cost"),
    ],
)
def test_what_goes_with_one_answer(args: tuple[str, ...], message: str) -> None:
    ran = automix(*DEMO, *args, "--no-cache")
    assert (ran.code, ran.out) == (4 if "--max-cost" in args else 2, "")
    assert message in ran.err
