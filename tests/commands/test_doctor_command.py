"""`automix doctor`: what a run would meet, in words for people and as JSON, and never a key."""

import json
from pathlib import Path

import pytest
from loopback import Loopback, nobody, profile_for
from typer.testing import CliRunner, Result

from automix_cli.backends.local_servers import ask_for_models
from automix_cli.cli import app

KEY = "sk-abcdefghijklmnop1234567890"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder below a home of its own."""
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(home / "cache"))
    return home / "work"


def doctor(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


def test_a_profile_that_can_work_is_exit_0_and_says_where_its_values_come_from(folder: Path) -> None:
    with Loopback() as server:
        server.models = ("tiny", "huge")
        path = profile_for(server, folder)
        ran = doctor("--profile", str(path))
    assert ran.exit_code == 0
    assert "profile   loopback (named with --profile; router majority, uncalibrated)" in ran.stdout
    assert "loopback.yaml sets" in ran.stdout
    assert "price $1 in, $2 out per million tokens (loopback.yaml:5)" in ran.stdout
    assert f"server    {server.url} (tier small, large): answers, lists 2 models" in ran.stdout
    assert "cache     ~/cache: 0 completions, 0 B" in ran.stdout
    assert ran.stdout.endswith("no problem found\n")


def test_a_model_that_the_server_does_not_list_is_a_problem_with_the_line_to_change(folder: Path) -> None:
    with Loopback() as server:
        server.models = ("tiny", "huge-71b", "else")
        path = profile_for(server, folder)
        ran = doctor("--profile", str(path))
        server.models = ("tiny:latest", "huge")  # as Ollama lists them
        assert doctor("--profile", str(path)).exit_code == 0
    assert ran.exit_code == 1
    assert f"problem: tier large: {server.url} does not list huge; it lists 3 models" in ran.stdout
    assert "the nearest: huge-71b, " in ran.stdout
    assert "change model: in " in ran.stdout
    assert "loopback.yaml:6" in ran.stdout.split("change model: in ")[1]
    assert "tier small: " not in ran.stdout.split("problem: ", 1)[1]


def test_a_server_that_wants_a_key_is_asked_with_the_one_that_the_profile_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", KEY)
    tiers = (
        "tiers:\n  - {{name: small, model: hosted_vllm/small, api_base: {0}, api_key_env: MINE}}\n"
        "  - {{name: large, model: hosted_vllm/lrge, api_base: {0}, api_key_env: MINE}}\n"
    )
    with Loopback() as server:
        server.models = ("large", "small")
        server.wants_key = KEY
        (folder / "p.yaml").write_text(tiers.format(server.url))
        ran = doctor("--profile", "p.yaml")
        monkeypatch.setenv("MINE", "another-key-than-that")
        refused = doctor("--profile", "p.yaml")
        (folder / "p.yaml").write_text(tiers.format(server.url).replace(", api_key_env: MINE", ""))
        keyless = doctor("--profile", "p.yaml")
    said = f"tier large: {server.url} does not list lrge; it lists 2 models, the nearest: large, small"
    assert f"problem: {said}; change model: in p.yaml:3\n" in ran.stdout
    assert (
        f"problem: tier small, large: {server.url} refuses the key in MINE (status 401)\n" in refused.stdout
    )
    assert ": answers with status 401, lists no models\n" in refused.stdout
    assert "wants a key (status 401): name its variable in api_key_env\n" in keyless.stdout
    assert [run.exit_code for run in (ran, refused, keyless)] == [1, 1, 1]


def test_a_key_of_a_service_goes_to_no_server_on_this_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Loopback() as server:
        doctor("--profile", str(profile_for(server, folder)))
        assert {entry.auth for entry in server.ledger} == {""}


def test_models_that_only_the_router_names_are_no_models_that_are_asked(folder: Path) -> None:
    with Loopback() as server:
        server.models = ("tiny", "huge")
        fitted = "{kind: majority, fitted: {models: [openai/tiny, openai/hge]}}"
        path = profile_for(server, folder, router=fitted)
        ran = doctor("--profile", str(path))
    assert "note: the models changed since this profile was calibrated: calibrate again\n" in ran.stdout
    note = "note: the router was fitted on openai/hge; tier large asks openai/huge: "
    assert note in ran.stdout
    assert ran.stdout.split(note)[1].split("\n")[0].endswith("loopback.yaml:6 says which model")
    assert "fitted on openai/tiny" not in ran.stdout


def test_an_unknown_price_is_noted_with_the_line_that_tells_it(folder: Path) -> None:
    (folder / "p.yaml").write_text("tiers:\n  - {name: a, model: openai/m, api_base: https://x.invalid/v1}\n")
    ran = doctor("--profile", "p.yaml")
    assert "note: price of openai/m unknown, so costs are null" in ran.stdout
    assert "- {name: a, model: openai/m, price: {input: …, output: …}}" in ran.stdout
    assert "no problem found\n" not in ran.stdout
    dry = CliRunner().invoke(app, ["ask", "What is 2 + 2?", "--profile", "p.yaml", "--dry-run"])
    assert "- {name: a, model: openai/m, price: {input: …, output: …}}" in dry.stdout


def test_a_server_that_does_not_answer_is_exit_1(folder: Path) -> None:
    with nobody() as url:
        (folder / "p.yaml").write_text(f"tiers:\n  - {{name: a, model: openai/m, api_base: {url}}}\n")
        ran = doctor("--profile", "p.yaml")
    assert ran.exit_code == 1
    assert f"problem: tier a: {url} does not answer (Connection refused)" in ran.stdout


def test_other_machines_are_asked_only_when_that_is_wanted(folder: Path) -> None:
    (folder / "p.yaml").write_text("tiers:\n  - {name: a, model: openai/m, api_base: https://x.invalid/v1}\n")
    row = json.loads(doctor("--profile", "p.yaml", "--json").stdout)
    [server] = [s for s in row["servers"] if s["tiers"]]
    assert (server["reachable"], row["problems"]) == (None, [])
    ran = doctor("--profile", "p.yaml", "--ping")
    assert ran.exit_code == 1
    assert "problem: tier a: https://x.invalid/v1 does not answer" in ran.stdout


def test_keys_are_named_and_never_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.setenv("MINE", KEY)
    (folder / "p.yaml").write_text(
        "tiers:\n"
        "  - {name: a, model: openai/m, api_base: https://x.invalid/v1, api_key_env: MINE}\n"
        "  - {name: b, model: anthropic/claude-haiku-4-5}\n"
    )
    for ran in (doctor("--profile", "p.yaml"), doctor("--profile", "p.yaml", "--json")):
        assert ran.exit_code == 1
        assert KEY not in ran.output
        assert str(folder.parent) not in ran.output
        assert "no key: export ANTHROPIC_API_KEY=…" in ran.output
    row = json.loads(doctor("--profile", "p.yaml", "--json").stdout)
    assert row["keys"]["GROQ_API_KEY"] is True
    assert [tier["key"] for tier in row["tiers"]] == ["MINE", None]
    assert row["tiers"][0]["price_from"] == "unknown"
    assert row["tiers"][1]["price_from"] == "LiteLLM's table"


def test_without_a_profile_it_says_what_was_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automix_cli.profile.search.ollama_answers", lambda: False)
    ran = doctor()
    assert ran.exit_code == 1
    assert "profile   none: no profile, no key and no local model found" in ran.stdout
    assert "problem: no profile can be used" in ran.stdout
    assert "automix profile init --api-base URL" in ran.stdout


@pytest.mark.parametrize(
    ("text", "way"),
    [
        (
            "tiers: [{name: a, model: openai/m, api_base: 'https://x.invalid/v1'}]\n",
            "named; if you trust this file, name it: --profile ./automix.yaml",
        ),
        ("tiers: 3\n", "got 3; correct that line"),
    ],
)
def test_a_file_that_is_refused_is_named_or_corrected_and_no_other_is_started(
    text: str, way: str, folder: Path
) -> None:
    (folder / "automix.yaml").write_text(text)
    ran = doctor()
    assert ran.exit_code == 1
    assert ran.stdout.endswith(f"{way}\n")
    assert "profile init" not in ran.stdout


def test_a_cache_that_cannot_be_read_is_a_problem(folder: Path) -> None:
    (folder.parent / "cache").mkdir()
    (folder.parent / "cache" / "cache.db").write_bytes(b"no database" * 100)
    ran = doctor("--profile", "demo")
    assert ran.exit_code == 1
    assert "problem: cache: the cache ~/cache/cache.db cannot be read" in ran.stdout


def test_a_server_lists_its_models_without_a_key() -> None:
    with Loopback() as server:
        reply = ask_for_models(server.url)
        assert (reply.is_reachable, reply.status, reply.models) == (True, 200, ("any",))
        assert [entry.auth for entry in server.ledger] == [""]
