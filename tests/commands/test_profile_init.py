"""`automix profile init`: a profile that works, of what the machine has, and nothing overwritten."""

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from loopback import Loopback, nobody
from shell import environment, read_terminal
from typer.testing import CliRunner, Result

from automix_cli.backends.local_servers import LOCAL_SERVERS, ServerReply
from automix_cli.cli import app
from automix_cli.commands import profile_init
from automix_cli.data.labelled import read_data
from automix_cli.errors import UsageError
from automix_cli.profile.json_schema import profile_schema
from automix_cli.profile.layout import PROFILE
from automix_cli.profile.proposal import proposal_of, tiers_of_option
from automix_cli.profile.search import load_profile

LISTED = ("nomic-embed-text:latest", "gemma3:12b", "gemma3:4b", "qwen3:30b-a3b")
LOCAL = [f"ollama_chat/{name}" for name in ("gemma3:4b", "gemma3:12b", "qwen3:30b-a3b")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with no Ollama at its address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_API_BASE", "http://127.0.0.1:9")
    return tmp_path


def automix(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_models_of_a_local_ollama_become_tiers_without_a_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Loopback(lambda call: "391") as server:
        server.models = LISTED
        monkeypatch.setenv("OLLAMA_API_BASE", server.root)
        ran = automix("profile", "init", "openai-compatible")
        assert (ran.exit_code, ran.stdout) == (0, "")
        assert [tier.model for tier in load_profile().tiers] == [LOCAL[0], LOCAL[2]]
        assert automix("ask", "--tier", "small", "--no-cache", "What is 17 * 23?").stdout == "391\n"
    first = Path("automix.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./automix.schema.json"
    assert "wrote automix.yaml, automix.schema.json, labelled.jsonl" in ran.stderr
    assert "into labelled.jsonl; automix calibrate labelled.jsonl --dry-run" in ran.stderr
    assert len(read_data(Path("labelled.jsonl")).labelled_questions(None)) == 10
    planned = automix("calibrate", "labelled.jsonl", "--dry-run")
    assert "10 of 10 rows are the sample rows of automix profile init: replace them" in planned.stderr


def test_tiers_and_an_address_make_a_profile_that_answers(folder: Path) -> None:
    with Loopback(lambda call: "391") as server:
        words = ("--tiers", "small=tiny,large=org/huge", "--api-base", server.url)
        assert automix("profile", "init", *words).exit_code == 0
        assert automix("profile", "check", "automix.yaml").exit_code == 0
        ran = automix("ask", "--tier", "large", "--no-cache", "What is 17 * 23?")
        assert (ran.stdout, server.calls[-1].model) == ("391\n", "org/huge")


def test_an_address_alone_is_asked_for_its_models_with_its_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "secret-of-mine")
    with Loopback() as server:
        server.models = ("only-one",)
        ran = automix("profile", "init", "--api-base", server.url, "--api-key-env", "MINE")
        assert server.ledger[0].auth == "Bearer secret-of-mine"
    assert ran.exit_code == 0
    assert "with one tier there is nothing to route" in ran.stderr
    assert 'next: automix ask --profile ./automix.yaml "Who wrote Dune?"' in ran.stderr
    [tier] = load_profile("./automix.yaml").tiers
    assert (tier.model, tier.api_key_env) == ("hosted_vllm/only-one", "MINE")
    assert "secret" not in Path("automix.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "is_named"),
    [
        (("http://127.0.0.1:9/v1",), False),
        (("http://127.0.0.1:9/v1", "--api-key-env", "MINE"), True),
        (("http://127.0.0.1:9/v1", "--api-key-env", "OPENAI_API_KEY"), True),
        (("https://gateway.invalid/v1", "--api-key-env", "MINE"), True),
        (("https://gateway.invalid/v1",), True),
    ],
)
def test_a_file_that_must_be_named_is_said_to_be_and_any_other_is_used_where_it_is_found(
    words: tuple[str, ...], is_named: bool, folder: Path
) -> None:
    ran = automix("profile", "init", "--tiers", "small=s,large=l", "--api-base", *words)
    assert ran.exit_code == 0
    note = "it is used only where it is named: --profile ./automix.yaml"
    assert (note in ran.stderr) == is_named
    command = next(line for line in ran.stderr.splitlines() if line.startswith("next: "))
    assert ("--profile ./automix.yaml" in command) == is_named
    option = " --profile ./automix.yaml" if is_named else ""
    ping = " --ping" if words[0].startswith("https") else ""
    assert f"automix doctor{option}{ping} shows whether it answers" in ran.stderr
    found = automix("ask", "q", "--dry-run")
    assert found.exit_code == (2 if is_named else 0), found.output
    assert ("if you trust this file, name it: --profile ./automix.yaml" in found.stderr) == is_named
    assert automix("ask", "q", "--dry-run", "--profile", "./automix.yaml").exit_code == 0
    assert ("problem: no profile can be used: automix.yaml:" in automix("doctor").stdout) == is_named


@pytest.mark.parametrize(
    ("listed", "order", "by"),
    [
        (("tiny", "big"), ("tiny", "big"), "what their names say of their size"),
        (("llama-70b", "llama-8b"), ("llama-8b", "llama-70b"), "what their names say of their size"),
        (("zeta", "alpha"), ("zeta", "alpha"), "the server's list"),
        (("gpt-4o", "gpt-4o-mini"), ("gpt-4o-mini", "gpt-4o"), ""),
    ],
)
def test_the_likely_cheaper_model_is_first_and_a_guess_is_called_one(
    listed: tuple[str, ...], order: tuple[str, str], by: str, folder: Path
) -> None:
    with Loopback() as server:
        server.models = listed
        ran = automix("profile", "init", "--api-base", server.url)
        small, large = (f"hosted_vllm/{name}" for name in order)
        assert [tier.model for tier in load_profile().tiers] == [small, large]
        assert (
            f"is a guess, by {by}; until it is calibrated, large answers everything" in ran.stderr
        ) == bool(by)
        if by:
            remove, _, swap = ran.stderr.splitlines()[-1].strip().partition("; ")
            assert remove == "rm automix.yaml"
            Path("automix.yaml").unlink()
            assert automix(*shlex.split(swap)[1:]).exit_code == 0
            assert [tier.model for tier in load_profile().tiers] == [large, small]
    assert (
        "    # price: {input: 0.1, output: 0.4}   # USD per million tokens"
        in Path("automix.yaml").read_text()
    )


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("http://127.0.0.1:9/v1", "free, as a server of one's own"),
        ("https://gateway.invalid/v1", "unknown"),
    ],
)
def test_a_price_that_is_set_contradicts_no_comment_above_it(base: str, said: str, folder: Path) -> None:
    assert automix("profile", "init", "--tiers", "small=s,large=l", "--api-base", base).exit_code == 0
    path = Path("automix.yaml")
    path.write_text(path.read_text().replace("# price:", "price:"))
    assert (
        path.read_text().count(f"    # without a price it counts as {said}\n    price: {{input: 0.1, ") == 2
    )
    prices = [tier.list_price() for tier in load_profile("./automix.yaml").tiers]
    assert [price and price.output for price in prices] == [0.4, 0.4]


def test_another_file_is_the_way_on_where_one_exists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert automix("profile", "init").exit_code == 0
    again = automix("profile", "init")
    assert (again.exit_code, "automix profile init -o other.yaml" in again.stderr) == (2, True)
    assert automix("profile", "init", "-o", "other.yaml").exit_code == 0
    assert load_profile("other.yaml").tiers == load_profile("openai").tiers


def test_a_server_of_given_tiers_that_does_not_answer_is_said(folder: Path) -> None:
    with nobody() as url:
        ran = automix("profile", "init", "--tiers", "small=a,large=b", "--api-base", url)
    assert ran.exit_code == 0
    assert f"note: {url} does not answer now (Connection refused)" in ran.stderr


def test_a_key_selects_its_provider_s_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    assert automix("profile", "init").exit_code == 0
    assert load_profile().tiers == load_profile("anthropic").tiers
    assert "list price: $" in Path("automix.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no key, and no server with models"),
        (("openai-compatible",), "no server on this machine lists models"),
        (("mine.yaml",), "automix profile init -o mine.yaml"),
        (("sub folder/mine.yml",), "automix profile init -o 'sub folder/mine.yml'"),
        (("--tiers", "nobody/x"), "unknown provider nobody"),
        (("--tiers", "a=openai/gpt-5,b=openai/gpt-5-nano"), "put the cheapest tier first"),
        (("--tiers", "a=demo/small,a=demo/large"), "is named a like tiers[0]"),
        (("openai", "--tiers", "demo/small"), "--tiers and --api-base make another"),
        (("--api-base", "ftp://x"), "--api-base: expected an http:// or https:// address"),
        (("--api-base", "http://x.example/v1", "--api-key-env", "MINE"), "in the clear"),
        (("--api-key-env", "MINE"), "--api-key-env goes with --api-base"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_written(
    words: tuple[str, ...], said: str, folder: Path
) -> None:
    ran = automix("profile", "init", *words)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert list(folder.iterdir()) == []


def test_a_server_that_is_not_there_is_named(folder: Path) -> None:
    with nobody() as url:
        ran = automix("profile", "init", "--api-base", url)
    assert ran.exit_code == 2
    assert f"{url}: Connection refused" in ran.stderr
    assert "--tiers small=NAME,large=NAME names its models" in ran.stderr


def test_rows_that_are_there_are_left_alone(folder: Path) -> None:
    Path("labelled.jsonl").write_text("mine")
    ran = automix("profile", "init", "demo")
    assert Path("labelled.jsonl").read_text() == "mine"
    assert "wrote automix.yaml, automix.schema.json\n" in ran.stderr


def test_at_most_three_questions_are_asked_in_a_terminal(folder: Path) -> None:
    with Loopback() as server:
        server.models = LISTED
        env = environment(OLLAMA_API_BASE=server.root, OPENAI_API_KEY="x")
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "automix_cli", "profile", "init"]
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        with subprocess.Popen(command, env=env, cwd=folder, **streams) as process:
            os.close(theirs)
            os.write(ours, b"2\n1,2,3\nnumeric\n")
            screen = read_terminal(ours)
        assert process.returncode == 0, screen
    profile = load_profile(str(folder / "automix.yaml"))
    assert [tier.model for tier in profile.tiers] == LOCAL
    assert [tier.name for tier in profile.tiers] == ["small", "medium", "large"]
    assert profile.task.scorer == "numeric"


def test_a_terminal_is_asked_which_of_two_models_is_cheap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_init, "_is_terminal", lambda: True)
    with Loopback() as server:
        server.models = ("one", "other")
        words = ("profile", "init", "--api-base", server.url)
        ran = CliRunner().invoke(app, words, input="2,1\nexact\n")
    assert "Which ones, the cheapest first and the dearest last [1,2]" in ran.output
    assert "is a guess" not in ran.output
    assert [tier.model for tier in load_profile().tiers] == ["hosted_vllm/other", "hosted_vllm/one"]


def test_models_that_answer_no_question_are_no_tiers() -> None:
    assert proposal_of(LOCAL_SERVERS[1], ServerReply("x", "", 200, ("bge-m3", "a b"))) is None


def test_names_of_tiers_may_be_left_out() -> None:
    assert [t.name for t in tiers_of_option("demo/small,demo/large", None, None)] == ["small", "large"]
    with pytest.raises(UsageError, match="expected 1 to 6 tiers, got 7"):
        tiers_of_option(",".join(["demo/small"] * 7), None, None)


def test_the_schema_has_every_key_that_the_reader_has(folder: Path) -> None:
    schema = json.loads(automix("schema", "profile").stdout)
    assert schema == profile_schema()
    assert list(schema["properties"]) == list(PROFILE.fields)
    tier = schema["properties"]["tiers"]["items"]
    assert tier["required"] == ["name", "model"]
    numbers = {"type": "number", "minimum": 0, "maximum": 2}
    assert tier["properties"]["params"]["properties"]["temperature"] == numbers
