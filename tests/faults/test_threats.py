"""T, B and E: hostile files and environments, budgets, and what opens no socket at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import hits
from loopback import Loopback, Reply, default_reply
from nursery import CANARY, World, double_paid, paid, rows
from shell import COMMAND, PATIENCE, environment

PROVIDER_KEYS = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY"), CANARY)


# ---------------------------------------------------------------- T1, T3, T7: who may name a host

FIELDS = (
    "api_base: {url}",
    "base_url: {url}",
    "api_key_env: HOME",
    "api_key: sk-something",
    "headers: {{X: y}}",
    "params: {{api_base: {url}}}",
    "params: {{extra_headers: {{X: y}}}}",
    "proxy: {url}",
    "ssl_verify: false",
)
MODELS = ("openai/gpt-5", "anthropic/claude-sonnet-4-5", "openrouter/x/y")


@pytest.mark.parametrize(
    ("model", "ci"), [(m, "") for m in MODELS] + [(MODELS[0], "true")], ids=[*MODELS, "in CI"]
)
@pytest.mark.parametrize("field", FIELDS)
def test_T1_C3_a_found_profile_sends_no_key_and_no_question_to_a_host_of_its_own(
    field: str, model: str, ci: str, world: World
) -> None:
    sink = "https://sink.invalid/v1" if "{url}" in field else ""
    (world.folder / "automix.yaml").write_text(
        f"version: 1\nname: theirs\ntiers:\n  - {{name: small, model: {model}, {field.format(url=sink)}}}\n"
    )
    env = {
        **PROVIDER_KEYS,
        "CI": ci,
        "AUTOMIX_PROFILE": "",
        "HTTPS_PROXY": world.server.root,
        "HTTP_PROXY": world.server.root,
    }
    ran = world.run("ask", "q", "--ignore-stdin", env=env)
    assert ran.code == 2, ran.err
    assert "automix.yaml:4: tiers[0]." in ran.err
    assert world.server.connections == 0


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_KEY"])
def test_T1_a_found_profile_sends_no_key_to_a_port_of_this_machine(variable: str, world: World) -> None:
    tier = f"{{name: small, model: openai/m, api_base: {world.server.url}, api_key_env: {variable}}}"
    (world.folder / "automix.yaml").write_text(f"version: 1\nname: theirs\ntiers:\n  - {tier}\n")
    ran = world.run("ask", "q", "--ignore-stdin", env={variable: CANARY, "AUTOMIX_PROFILE": ""})
    assert ran.code == 2, ran.err
    assert "may not stand beside an api_base" in ran.err
    assert "--profile ./automix.yaml" in ran.err
    assert world.server.connections == 0


def test_E1_variables_that_would_redirect_are_said_and_ignored(world: World) -> None:
    (world.folder / "automix.yaml").write_text(
        "version: 1\nname: mine\ntiers: [{name: small, model: openai/gpt-5-nano}]\nlimits: {attempts: 1}\n"
    )
    with Loopback() as proxy:  # it lets nothing through, and shows which host was wanted
        env = {
            **PROVIDER_KEYS,
            "AUTOMIX_PROFILE": "",
            "OPENAI_BASE_URL": world.server.url,
            "OPENAI_API_BASE": world.server.url,
            "HTTPS_PROXY": proxy.root,
        }
        ran = world.run("ask", "q", "--ignore-stdin", env=env)
        assert {e.path for e in proxy.ledger} == {"api.openai.com:443"}
    assert "OPENAI_BASE_URL is set and ignored" in ran.err
    assert ran.code == 1
    assert world.server.connections == 0


def test_T3_no_env_file_is_read(world: World) -> None:
    """In a fresh interpreter, whose import of LiteLLM would load it."""
    folder = world.folder / "project"
    folder.mkdir()
    for place in (folder, world.folder):
        (place / ".env").write_text(
            f"OPENAI_API_KEY=planted\nOPENAI_API_BASE={world.server.url}\nCANARY_KEY=planted-by-the-file\n"
        )
    code = (
        "import os; before = dict(os.environ)\n"
        "from automix_cli.backends.litellm_library import load_litellm; load_litellm()\n"
        "print(sorted(k for k in os.environ if os.environ[k] != before.get(k)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=folder,
        env=environment(),
        timeout=PATIENCE,
        check=True,
    )
    assert ran.stdout == b"[]\n"


# ---------------------------------------------------------------- T4: keys


def test_T4_a_server_that_repeats_the_key_gets_it_into_no_file_and_no_message(world: World) -> None:
    def echo(call: object) -> Reply:
        said = f"your key is {CANARY}, or Bearer {CANARY}"
        body = json.dumps({"error": {"message": said, "code": CANARY}}).encode()
        return Reply(status=400, body=body, headers={"X-Echo": CANARY})

    world.server.reply = echo
    questions = world.questions(3)
    for way in ((), ("--verbose", "--explain")):
        ran = world.run("--debug", "ask", "-i", questions, "-o", world.out, "--force", *way)
        assert ran.code == 3
        assert "[key]" in ran.err
    assert {e.auth for e in world.server.calls} == {f"Bearer {CANARY}"}
    single = world.run("--debug", "ask", "q", "--ignore-stdin")
    assert single.code == 1
    assert "Traceback" in single.err
    assert CANARY not in single.err


def test_T4_a_completion_that_repeats_the_key_is_masked_before_it_is_kept(world: World) -> None:
    world.server.reply = lambda call: (
        f"the header said {CANARY}" if not call.verifies else default_reply(call)
    )
    assert world.ask(world.questions(2)).code == 0
    assert {row["answer"] for row in rows(world.out)} == {"the header said [key]"}


def test_the_watch_for_the_key_finds_one(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.write_text(f"… {CANARY} …")
    assert hits(tmp_path) == [planted]
    planted.unlink()


# ---------------------------------------------------------------- B: money


@pytest.mark.parametrize("concurrency", [1, 8])
def test_B1_the_cap_holds_on_the_wire_and_more_money_goes_on_where_it_stopped(
    concurrency: int, world: World
) -> None:
    questions = world.questions(16)
    first = world.ask(questions, "--max-cost", "0.012", "-j", str(concurrency))
    found = rows(world.out)
    assert first.code == 4
    assert sum(row["spent_usd"] for row in found) <= 0.012
    assert {row["status"] for row in found} == {"ok", "skipped"}
    assert len(found) == 16
    second = world.ask(questions, "--max-cost", "5", "--resume")
    assert second.code == 0
    assert {row["status"] for row in rows(world.out)} == {"ok"}
    assert double_paid(world.server) == 0


def test_B1_at_the_cap_the_cheapest_tier_answers_unverified_when_told_to(world: World) -> None:
    world.server.reply = lambda call: "the answer"
    questions = world.questions(30)
    ran = world.ask(questions, "--max-cost", "0.012", "--on-budget", "degrade", "-j", "2")
    found = rows(world.out)
    degraded = [row for row in found if "degraded" in row["route"][0].get("flags", ())]
    assert ran.code == 0, ran.err
    assert 0 < len(degraded) < 30
    assert f"{len(degraded)} degraded" in ran.err
    assert {(row["tier"], row["status"], row["answer"]) for row in degraded} == {
        ("small", "ok", "the answer")
    }
    assert all("cheapest tier" in row["reason"] for row in degraded)
    assert sum(row["spent_usd"] for row in found) <= 0.012


def test_B2_a_budget_without_a_price_is_refused(world: World) -> None:
    world.profile.write_text(
        "version: 1\nname: dear\ntiers: [{name: small, model: openai/unheard-of, "
        f'api_base: "{world.server.url}", api_key_env: CANARY_KEY}}]\n'
    )
    ran = world.ask(world.questions(2), "--max-cost", "1")
    assert ran.code == 2
    assert "price" in ran.err
    assert world.server.calls == []


def test_B3_attempts_that_may_be_billed_count_against_the_cap(world: World) -> None:
    world.server.reply = lambda call: Reply(fault="reset") if call.attempt < 2 else default_reply(call)
    ran = world.ask(world.questions(8), "--max-cost", "0.05", "-j", "8", "--tier", "small")
    found = rows(world.out)
    assert ran.code in (0, 4)
    assert sum(row["spent_usd"] for row in found) <= 0.05
    ok = [row for row in found if row["status"] == "ok"]
    assert ok
    assert all(row["spent_usd"] > 2 * row["cost_usd"] for row in ok), "the failed attempts are on the bill"


def test_B4_a_finished_job_runs_again_without_a_request(world: World) -> None:
    questions = world.questions(8)
    assert world.ask(questions).code == 0
    made = len(world.server.calls)
    assert world.ask(questions, "--resume").code == world.ask(questions, "--force").code == 0
    assert len(world.server.ledger) == made == len(paid(world.server.calls))
    assert sum(row["spent_usd"] for row in rows(world.out)) == 0


SOCKETLESS = (
    ("--help",),
    ("ask", "--help"),
    ("ask", "-i", "q.jsonl", "--dry-run"),
    ("profile", "list"),
    ("profile", "check", "one.yaml"),
    ("cache", "info"),
)


@pytest.mark.parametrize("args", SOCKETLESS, ids=" ".join)
def test_B5_what_only_looks_opens_no_socket_and_loads_no_litellm(args: tuple[str, ...], world: World) -> None:
    world.questions(3).rename(world.folder / "q.jsonl")
    code = (
        "import socket, sys\n"
        "def no(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from automix_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'litellm' not in sys.modules\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=world.folder,
        env=environment(AUTOMIX_PROFILE=str(world.profile), CANARY_KEY=CANARY),
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert world.server.connections == 0


# ---------------------------------------------------------------- E: environments

ODD = (
    {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    {"PYTHONUTF8": "0", "LC_ALL": "POSIX"},
    {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "1"},
    {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "nonsense", "ALL_PROXY": "socks5://127.0.0.1:9"},
    {"XDG_CACHE_HOME": "relative", "XDG_CONFIG_HOME": "/nonexistent"},
)


@pytest.mark.parametrize("env", ODD, ids=lambda env: next(iter(env)))
def test_E1_odd_environments_change_no_answer(env: dict[str, str], world: World) -> None:
    ran = subprocess.run(
        [*COMMAND, "ask", "--profile", "demo", "--explain", "What is 2 + 2?"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=world.folder,
        env=environment(**env),
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, b"4\n"), ran.stderr
    assert b"Traceback" not in ran.stderr


def test_E1_a_proxy_of_the_environment_does_not_see_a_local_server(world: World) -> None:
    proxies = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }
    assert world.ask(world.questions(2), env=proxies).code == 0


def test_E1_without_a_writable_home_the_way_out_is_named(world: World) -> None:
    env = {k: v for k, v in environment(HOME="/proc/nowhere").items() if not k.startswith("XDG")}
    args = [*COMMAND, "ask", "--profile", "demo", "What is 2 + 2?"]
    ran = subprocess.run(
        args, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=PATIENCE, check=False
    )
    assert ran.returncode == 1
    assert b"--no-cache" in ran.stderr
    again = subprocess.run(
        [*args, "--no-cache"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=env,
        timeout=PATIENCE,
        check=False,
    )
    assert (again.returncode, again.stdout) == (0, b"4\n")


def test_T17_outputs_and_cache_are_readable_by_their_owner_alone(world: World) -> None:
    assert world.ask(world.questions(2)).code == 0
    made = [world.out, world.cache, *world.cache.iterdir()]
    assert {path.name: path.stat().st_mode & 0o077 for path in made if path.name != "CACHEDIR.TAG"} == {
        path.name: 0 for path in made if path.name != "CACHEDIR.TAG"
    }
    assert os.stat(world.cache).st_mode & 0o777 == 0o700
