"""`automix ask` from a shell: streams, exit codes, calls."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from loopback import Call, Loopback, Reply, profile_for
from shell import COMMAND, PATIENCE, ROOT, Ran, automix, environment, jsonl, on_terminal, until, warm_command

Run = Callable[..., Ran]
DEMO = ("ask", "--profile", "demo")
QUESTIONS = ROOT / "profiles" / "demo-questions.jsonl"
ASK_KEYS = {
    *("schema", "id", "index", "status", "question", "answer", "tier", "model", "escalated", "confidence"),
    *("reason", "route", "usage", "cost_usd", "spent_usd", "latency_s", "error", "metadata"),
    *("class", "input_sha", "profile_sha"),
}


# ---------------------------------------------------------------- one question


def test_the_first_question_is_answered_alone_on_stdout() -> None:
    ran = automix(*DEMO, "What is 17 * 23?", command=COMMAND)
    assert (ran.code, ran.out) == (0, "391\n")
    assert "simulated" in ran.err
    assert "spent" in ran.err


def test_json_prints_one_valid_row() -> None:
    ran = automix(*DEMO, "--json", "What is 17 * 23?")
    [row] = ran.rows
    assert set(row) == ASK_KEYS
    assert (row["schema"], row["status"], row["answer"], row["id"]) == ("automix.ask/1", "ok", "391", 0)
    assert row["cost_usd"] == row["spent_usd"] > 0


def test_explain_tells_tiers_votes_decision_and_money_on_stderr() -> None:
    ran = automix(*DEMO, "--explain", "What is 17 * 23?")
    assert ran.out == "391\n"
    for word in ("small", "votes", "then", "report", "bill", "$"):
        assert word in ran.err


def test_quiet_leaves_stderr_empty() -> None:
    ran = automix(*DEMO, "--quiet", "What is 17 * 23?")
    assert (ran.out, ran.err) == ("391\n", "")


def test_a_question_the_demo_cannot_read_says_what_it_can_do() -> None:
    ran = automix(*DEMO, "Why is the sky blue?")
    assert (ran.code, ran.out) == (1, "")
    assert "17 * 23" in ran.err
    assert "Traceback" not in ran.err


def test_a_tier_is_asked_once_without_votes() -> None:
    [row] = automix(*DEMO, "--tier", "large", "--json", "What is 17 * 23?").rows
    assert (row["tier"], row["usage"]["calls"], len(row["route"])) == ("large", 1, 1)


def test_tiers_need_no_yaml() -> None:
    [row] = automix("ask", "--tiers", "demo/small,demo/large", "--json", "What is 17 * 23?").rows
    assert row["answer"] == "391"
    assert row["model"].startswith("demo/")


def test_an_unknown_tier_is_named_with_those_there_are() -> None:
    ran = automix(*DEMO, "--tier", "smal", "What is 17 * 23?")
    assert ran.code == 2
    assert "small" in ran.err


# ---------------------------------------------------------------- no key, no profile, no input


def test_without_profile_and_key_a_newcomer_is_told_three_ways_on(tmp_path: Path) -> None:
    ran = automix("ask", "What is 17 * 23?", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    for way in ("OPENAI_API_KEY", "llama", "--profile demo"):
        assert way in ran.err
    assert "Traceback" not in ran.err


def test_a_missing_key_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    ran = automix("ask", "--profile", "openai", "hello", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "export OPENAI_API_KEY" in ran.err


def test_alone_on_a_terminal_it_prints_help_and_exits_2() -> None:
    main, worker = pty.openpty()
    ran = subprocess.run(
        [*COMMAND, "ask"], stdin=worker, capture_output=True, env=environment(), timeout=PATIENCE, check=False
    )
    os.close(main)
    os.close(worker)
    assert ran.returncode == 2
    assert b"Usage" in ran.stderr
    assert b"stdin is empty" not in ran.stderr
    assert ran.stdout == b""


def test_without_stdin_it_prints_help_and_exits_2() -> None:
    ran = automix("ask")
    assert ran.code == 2
    assert "Usage" in ran.err
    assert ran.err.endswith("\nautomix: no question was given, and stdin is empty\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--profile", "demo", "--tiers", "demo/small", "q"), "exclude each other"),
        (("--profile", "demo", "--offline", "--refresh", "q"), "--offline"),
        (("--profile", "demo", "--limit", "1", "q"), "--limit"),
        (("--profile", "demo", "  "), "empty"),
        (("--profile", "nowhere.yaml", "q"), "nowhere.yaml"),
        (("--profile", "demo", "-j", "0", "q"), "-j"),
        (("--profile", "demo", "-i", "q.jsonl", "q"), "exclude each other"),
        (("--profile", "demo", "-i", "missing.jsonl"), "missing.jsonl"),
        (("--profile", "demo", "--context", "missing.txt", "q"), "missing.txt"),
    ],
)
def test_options_that_cannot_be_meant_exit_2(args: tuple[str, ...], message: str, tmp_path: Path) -> None:
    ran = automix("ask", *args, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


# ---------------------------------------------------------------- context


def seen(call: Call) -> str:
    """A verifier that agrees, and a tier that repeats what it was shown."""
    if call.verifies:
        return "Fine.\nVerification Decision: The AI generated answer is Correct."
    return call.prompt


def test_what_is_piped_in_becomes_the_context(tmp_path: Path) -> None:
    with Loopback(seen) as server:
        ran = automix(
            *("ask", "--profile", profile_for(server, tmp_path), "Who?"), stdin="Ana wrote the notes.\n"
        )
    assert ran.code == 0
    assert "<<context " in ran.out
    assert "Ana wrote the notes." in ran.out


def test_a_context_file_goes_before_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("From the file.")
    with Loopback(seen) as server:
        profile = profile_for(server, tmp_path)
        ran = automix(
            "ask", "--profile", profile, "-c", tmp_path / "notes.txt", "Who?", stdin="From the pipe."
        )
    assert "From the file." in ran.out
    assert "From the pipe." not in ran.out


@pytest.mark.parametrize(("args", "stdin"), [((), "  \n"), (("--ignore-stdin",), "ignored")])
def test_blank_or_ignored_stdin_is_no_context(args: tuple[str, ...], stdin: str, tmp_path: Path) -> None:
    with Loopback(seen) as server:
        ran = automix("ask", "--profile", profile_for(server, tmp_path), *args, "Who?", stdin=stdin)
    assert ran.code == 0
    assert "<<context" not in ran.out


def test_an_open_pipe_that_sends_nothing_is_named_as_what_it_waits_for() -> None:
    child = subprocess.Popen(
        [*COMMAND, *DEMO, "What is 17 * 23?"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert b"--ignore-stdin skips it" in child.stderr.readline()
    out, _ = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (0, b"391\n")


# ---------------------------------------------------------------- rows


def test_rows_come_back_in_order_and_a_second_run_makes_no_call(tmp_path: Path) -> None:
    args = (*DEMO, "--limit", "60", "-j", "8")
    first = automix(*args, stdin=QUESTIONS.read_bytes(), command=COMMAND)
    second = automix(*args, stdin=QUESTIONS.read_bytes(), command=COMMAND)
    expected = [json.loads(line)["id"] for line in QUESTIONS.read_text().splitlines()[:60]]
    assert (first.code, second.code) == (0, 0)
    assert [row["id"] for row in first.rows] == expected
    assert [row["index"] for row in first.rows] == list(range(60))
    assert all(set(row) == ASK_KEYS for row in first.rows)
    assert sum(row["spent_usd"] for row in first.rows) > 0
    assert sum(row["spent_usd"] for row in second.rows) == 0
    assert [r["cost_usd"] for r in first.rows] == [r["cost_usd"] for r in second.rows]


def test_equal_questions_are_paid_once_and_the_first_carries_the_spending() -> None:
    rows = [{"question": "What is 12 + 30?", "id": n} for n in range(5)]
    found = automix(*DEMO, stdin=jsonl(*rows)).rows
    assert [row["spent_usd"] > 0 for row in found] == [True, False, False, False, False]
    assert len({row["cost_usd"] for row in found}) == 1


def test_a_malformed_line_becomes_an_error_row_with_its_line_number() -> None:
    text = (
        jsonl({"question": "What is 2 + 2?", "id": "a"}) + "{oops\n" + jsonl({"question": "What is 3 + 3?"})
    )
    ran = automix(*DEMO, stdin=text)
    assert ran.code == 3
    assert [row["status"] for row in ran.rows] == ["ok", "error", "ok"]
    bad = ran.rows[1]
    assert bad["error"]["type"] == "invalid_input"
    assert bad["error"]["message"].startswith("line 2: ")
    assert (bad["answer"], bad["index"], ran.rows[2]["id"]) == (None, 1, 2)
    assert set(bad) == ASK_KEYS


def test_strict_on_a_file_stops_before_anything_is_spent(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(jsonl({"question": "What is 2 + 2?"}) + "{oops\n")
    with Loopback() as server:
        ran = automix("ask", "--profile", profile_for(server, tmp_path), "-i", path, "--strict")
        assert server.ledger == []
    assert (ran.code, ran.out) == (2, "")
    assert f"{path}:2: not JSON" in ran.err


def test_duplicate_ids_in_a_file_are_refused_before_anything_is_spent(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(jsonl({"question": "What is 2 + 2?", "id": 1}, {"question": "What is 3 + 3?", "id": "1"}))
    ran = automix(*DEMO, "-i", path)
    assert (ran.code, ran.out) == (2, "")
    assert f"{path}:2: id '1' stands twice (first in line 1)" in ran.err


def test_text_on_stdin_is_one_question() -> None:
    assert automix(*DEMO, stdin="What is 17 * 23?\n").out == "391\n"


@pytest.mark.parametrize("text", ["{'question': 1}", "[1, 2]", '{"question": "cut'])
def test_text_that_only_looks_like_json_is_refused(text: str) -> None:
    ran = automix(*DEMO, stdin=text)
    assert (ran.code, ran.out) == (2, "")
    assert "--input text" in ran.err


def test_much_text_is_refused_unless_it_is_meant() -> None:
    ran = automix(*DEMO, stdin="x " * 40_000)
    assert (ran.code, ran.out) == (2, "")
    assert "64 KiB" in ran.err


@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_no_rows_are_no_error(data: bytes) -> None:
    ran = automix(*DEMO, stdin=data)
    assert (ran.code, ran.out) == (0, "")
    assert "0 rows" in ran.err


def test_a_file_is_written_in_order_and_never_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    args = (*DEMO, "-i", QUESTIONS, "--limit", "5", "-o", out)
    first = automix(*args)
    assert (first.code, first.out) == (0, "")
    assert len(out.read_text().splitlines()) == 5
    again = automix(*args)
    assert again.code == 2
    assert "--force" in again.err
    assert automix(*args, "--force").code == 0


def test_a_dash_is_stdout(tmp_path: Path) -> None:
    demo, row = ("ask", "--profile", "demo", "-o", "-"), jsonl({"question": "2 + 2?"})
    assert automix(*demo, "What is 17 * 23?", cwd=tmp_path).out == "391\n"
    assert [r["answer"] for r in automix(*demo, "--force", stdin=row, cwd=tmp_path).rows] == ["4"]
    refused = automix(*demo, "--resume", stdin=row, cwd=tmp_path)
    assert "--resume goes with rows and -o FILE" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_a_sample_is_drawn_by_seed_and_kept_in_order(tmp_path: Path) -> None:
    def ids(seed: str, **env: str) -> list[str]:
        args = ("-i", QUESTIONS, "--sample", "7", "--seed", seed)
        return [row["id"] for row in automix(*DEMO, *args, env=env).rows]

    first = ids("1")
    assert len(first) == 7
    assert first == sorted(first) == ids("1", PYTHONHASHSEED="1")  # another order of sets
    assert first != ids("2")


def test_a_dry_run_counts_calls_and_dollars_and_sends_nothing(tmp_path: Path) -> None:
    with Loopback() as server:
        profile = profile_for(server, tmp_path)
        ran = automix("ask", "--profile", profile, "-i", QUESTIONS, "--limit", "10", "--dry-run", "--json")
        [plan] = ran.rows
        real = automix("ask", "--profile", profile, "-i", QUESTIONS, "--limit", "10").rows
    assert plan["questions"] == 10
    assert plan["low"]["calls"] == 50
    assert plan["worst"]["calls"] == 100
    assert sum(row["usage"]["calls"] for row in real) <= 100
    assert 0 < plan["low"]["usd"] < plan["expected"]["usd"] < plan["worst"]["usd"]
    assert sum(row["cost_usd"] for row in real) <= plan["worst"]["usd"]


# ---------------------------------------------------------------- over real sockets


def test_the_ledger_shows_exactly_the_calls_the_policy_needs(tmp_path: Path) -> None:
    def reply(call: Call) -> str:
        if call.verifies:
            word = "Correct" if "easy" in call.prompt else "Incorrect"
            return f"So it is.\nVerification Decision: The AI generated answer is {word}."
        return f"{call.model} says"

    with Loopback(reply) as server:
        profile = profile_for(server, tmp_path)
        rows = jsonl({"question": "an easy one"}, {"question": "a hard one"})
        found = automix("ask", "--profile", profile, stdin=rows)
        made = [(e.model, e.n) for e in server.calls]
        assert automix("ask", "--profile", profile, stdin=rows).code == 0
        assert len(server.calls) == len(made)
    assert [row["answer"] for row in found.rows] == ["tiny says", "huge says"]
    assert sorted(made) == sorted(
        [("tiny", 1), ("tiny", 4), ("tiny", 1), ("tiny", 4), ("tiny", 1), ("huge", 1)]
    )
    assert all(row["cost_usd"] > 0 for row in found.rows)


def test_offline_answers_from_the_cache_and_sends_nothing(tmp_path: Path) -> None:
    with Loopback() as server:
        args = ("ask", "--profile", profile_for(server, tmp_path), "--json", "one")
        first = automix(*args)
        made = len(server.calls)
        offline = automix(*args, "--offline")
        missing = automix(*args[:-1], "another", "--offline")
        assert len(server.calls) == made
        refreshed = automix(*args, "--refresh")
        assert len(server.calls) == 2 * made
        automix(*args, "--no-cache")
        assert len(server.calls) == 3 * made
    assert offline.rows[0]["answer"] == first.rows[0]["answer"] == refreshed.rows[0]["answer"]
    assert missing.code == 1
    assert missing.rows[0]["error"]["type"] == "cache_miss"


def test_a_refused_key_stops_the_run_and_keeps_what_is_done(tmp_path: Path) -> None:
    begun, refused = threading.Event(), threading.Event()

    def refuse() -> bool:
        """The key is refused once a later row has begun: all before are done."""
        if begun.is_set():
            refused.set()
        return refused.is_set()

    def reply(call: Call) -> Reply:
        if "q9" in call.prompt:
            return Reply(status=401, gate=refuse)
        later = any(f"q{n}" in call.prompt for n in range(10, 40))
        if later:
            begun.set()
        return Reply(texts=(seen(call),), gate=refused.is_set if later else None)

    with Loopback(reply) as server:
        rows = jsonl(*({"question": f"q{n}"} for n in range(40)))
        ran = automix("ask", "--profile", profile_for(server, tmp_path), "-j", "2", stdin=rows)
    assert ran.code == 1
    assert 10 <= len(ran.rows) <= 14
    assert [row["status"] for row in ran.rows][:9] == ["ok"] * 9
    assert ran.rows[9]["error"]["type"] == "auth"


# ---------------------------------------------------------------- streams


def assert_pure(run: Run, env: dict[str, str], folder: Path) -> None:
    """stdout holds what the model said, byte for byte, and stderr no escape sequence."""
    with Loopback(lambda call: "[red]bold[/b] \x1b[31m" if not call.verifies else seen(call)) as server:
        ran = run("ask", "--profile", profile_for(server, folder), "--verbose", "q", env=env)
    assert ran.out == "[red]bold[/b] \x1b[31m\n"
    assert "\x1b" not in ran.err


@pytest.mark.contract
def test_stdout_stays_pure_when_piped(tmp_path: Path) -> None:
    assert_pure(partial(automix, command=COMMAND), {"GITHUB_ACTIONS": "1"}, tmp_path)


@pytest.mark.parametrize("env", [{}, {"GITHUB_ACTIONS": "1"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_stdout_stays_pure_in_every_environment(env: dict[str, str], tmp_path: Path) -> None:
    assert_pure(automix, env, tmp_path)


@pytest.mark.contract
def test_stdout_stays_pure_with_an_unknown_model(tmp_path: Path) -> None:
    args = ("ask", "--tiers", "nowhere/model-x", "q")
    ran = automix(*args, cwd=tmp_path, env={"GITHUB_ACTIONS": "1"}, command=COMMAND)
    assert ran.code == 2
    assert ran.out == ""
    assert "\x1b" not in ran.err


def test_controls_are_shown_not_obeyed_on_a_terminal(tmp_path: Path) -> None:
    with Loopback(lambda call: seen(call) if call.verifies else "\x1b]52;c;aGk=\x07") as server:
        args = ("ask", "--profile", profile_for(server, tmp_path), "-q", "q")
        ran = on_terminal(*args)
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "\\x1b]52" in ran.out


def test_a_reader_that_goes_away_ends_the_run_quietly() -> None:
    child = subprocess.Popen(
        [*COMMAND, *DEMO, "-i", str(QUESTIONS)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    child.stdout.readline()
    child.stdout.close()
    err = child.stderr.read().decode()
    assert child.wait(PATIENCE) == 141
    assert "Traceback" not in err
    child.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_rows_in_flight(number: signal.Signals, tmp_path: Path) -> None:
    stopping = threading.Event()

    def reply(call: Call) -> Reply:
        return Reply(texts=(seen(call),), gate=None if "the first" in call.prompt else stopping.is_set)

    with Loopback(reply) as server:
        rows = tmp_path / "q.jsonl"
        rows.write_text(jsonl({"question": "the first"}, *({"question": f"q{n}"} for n in range(50))))
        child = subprocess.Popen(
            [
                *(*warm_command(), "ask", "--profile", str(profile_for(server, tmp_path))),
                *("-i", str(rows), "-j", "4"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        first = child.stdout.readline()
        until(lambda: server.busy == 4)
        child.send_signal(number)
        while b"stopping" not in (line := child.stderr.readline()):
            assert line, "it ended without a word"
        stopping.set()
        rest, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == 128 + number
    found = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert [row["index"] for row in found] == list(range(len(found)))
    assert len(found) == 5, "the first, and the four in flight"
    assert {row["status"] for row in found} == {"ok"}


# ---------------------------------------------------------------- start-up


@pytest.mark.parametrize("args", ["--help", "ask --help", "verify --help", "--version", "profile --help"])
def test_help_and_version_import_nothing_heavy(args: str) -> None:
    code = (
        "import sys; sys.argv = ['automix', *sys.argv[1:]]\n"
        "from automix_cli.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'litellm', 'numpy', 'sklearn', 'rich', 'yaml', 'diskcache', 'asyncio', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [COMMAND[0], "-c", code, *args.split()],
        capture_output=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.decode().strip() == "[]"


def test_a_cached_answer_needs_no_litellm_and_no_event_loop(tmp_path: Path) -> None:
    with Loopback() as server:
        args = ["ask", "--profile", str(profile_for(server, tmp_path)), "--max-cost", "1", "q"]
        assert automix(*args).code == 0
    code = (
        "import sys; sys.argv = ['automix', *sys.argv[1:]]\n"
        "from automix_cli.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "assert not {'litellm', 'numpy', 'sklearn', 'asyncio'} & set(sys.modules)\n"
    )
    subprocess.run(
        [COMMAND[0], "-c", code, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=PATIENCE,
        check=True,
    )


def test_rows_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_bytes(b'{"question": "2 + 2?"}\n' * 2 + b'{"question": "caf\xe9"}\n')
    args = (*DEMO, "--tier", "small", "-i", questions)
    assert automix(*args).code == 2
    assert len(automix(*args, "--limit", "2").rows) == 2


# ---------------------------------------------------------------- what a payer reads


def test_a_batch_ends_with_its_price_beside_the_dearest_tier_alone() -> None:
    ran = automix(*DEMO, "-i", QUESTIONS, "--limit", "60")
    line = ran.err.splitlines()[-1]
    shares = (
        r"about \d+ % cheaper than large alone \(estimate: large was not asked on (\d+) of 60 questions, .*\)"
    )
    [others] = re.findall(rf"^\$\d\.\d\d per 1,000 questions at list price, {shares}$", line)
    assert int(others) == sum(len(row["route"]) == 1 for row in ran.rows)
    assert "quality" not in line, "nothing was calibrated"
    quiet = automix(*DEMO, "-i", QUESTIONS, "--limit", "60", "--quiet")
    assert quiet.err == ""
    assert [set(row) - {"choices", "context"} for row in quiet.rows] == [ASK_KEYS] * 60


def test_quality_is_spoken_of_where_the_profile_is_calibrated(tmp_path: Path) -> None:
    demo = (ROOT / "profiles" / "demo.yaml").read_text().replace("router: {kind: majority}", "")
    held_out = {"always:small": [0.0001, 0.6], "always:large": [0.002, 0.9]}
    router = {"kind": "always", "tier": "small", "fitted": {"rows": 50, "held_out": held_out}}
    (tmp_path / "own.yaml").write_text(f"{demo}\nrouter: {json.dumps(router)}\n")
    ran = automix("ask", "--profile", tmp_path / "own.yaml", "-i", QUESTIONS, "--limit", "5")
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[-1].endswith("; calibrated at 66.7 % of large's quality")


def test_one_tier_has_a_price_and_nothing_beside_it() -> None:
    ran = automix(*DEMO, "--tier", "large", "-i", QUESTIONS, "--limit", "5")
    assert re.fullmatch(r"\$\d\.\d\d per 1,000 questions at list price", ran.err.splitlines()[-1])


def test_a_batch_without_prices_says_which_are_unknown() -> None:
    ran = automix("ask", "--tiers", "demo/small,demo/large", "-i", QUESTIONS, "--limit", "5")
    assert ran.err.splitlines()[-1] == "cost per 1,000 questions unknown: no price of small, large"


def test_a_batch_without_an_answer_says_nothing_of_prices() -> None:
    ran = automix(*DEMO, stdin=jsonl({"question": "Why is the sky blue?"}))
    assert ran.code == 3
    assert "per 1,000" not in ran.err
