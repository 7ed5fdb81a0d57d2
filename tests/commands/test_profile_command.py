"""`automix profile`: results on stdout, remarks on stderr, 2 for a profile that cannot be used."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from automix_cli.cli import app
from automix_cli.profile.bundled import bundled_names
from automix_cli.profile.read import read_profile
from automix_cli.profile.search import load_profile

TWO = "tiers:\n  - name: small\n    model: demo/small\n  - name: large\n    model: demo/large\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder in which no local model answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("automix_cli.profile.search.ollama_answers", lambda: False)
    return tmp_path


def automix(*words: str) -> Result:
    return CliRunner().invoke(app, ["profile", *words])


# ── list ──────────────────────────────────────────────────────────────────────────────────────


def test_list_names_the_bundled_profiles_and_marks_none_where_none_would_be_used(folder: Path) -> None:
    ran = automix("list")
    assert ran.exit_code == 0
    assert [line.split()[0] for line in ran.stdout.splitlines()] == list(bundled_names())
    assert "  demo               demo/small → demo/large\n" in ran.stdout
    assert "no profile, no key and no local model found" in ran.stderr


def test_list_marks_the_profile_that_a_key_selects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "x")
    ran = automix("list")
    assert [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("*")] == ["gemini"]
    assert ran.stderr == ""


def test_list_shows_what_is_found_first_and_marks_what_would_be_used(
    folder: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = clean_environment / ".config" / "automix" / "automix.yaml"
    user.parent.mkdir(parents=True)
    user.write_text(TWO)
    Path("automix.yaml").write_text(TWO)
    rows = json.loads(automix("list", "--json").stdout)
    assert [(row["origin"], row["used"]) for row in rows[:3]] == [
        ("discovered", True),
        ("user", False),
        ("bundled", False),
    ]
    assert rows[1]["path"] == str(user)
    assert rows[0]["tiers"] == [
        {"name": "small", "model": "demo/small"},
        {"name": "large", "model": "demo/large"},
    ]
    Path("mine.yaml").write_text(TWO)
    monkeypatch.setenv("AUTOMIX_PROFILE", "mine.yaml")
    assert automix("list").stdout.split()[:5] == ["*", "mine.yaml", "demo/small", "→", "demo/large"]


def test_list_goes_on_past_a_profile_that_cannot_be_used(folder: Path) -> None:
    Path("automix.yaml").write_text("tiers: 3\n")
    ran = automix("list")
    assert ran.exit_code == 0
    path = folder / "automix.yaml"
    assert ran.stdout.startswith(f"  automix.yaml       cannot be used: automix profile check {path}\n")
    assert "automix.yaml:1: tiers: expected a list of at most 6, got 3" in ran.stderr
    assert automix("list", "--quiet").stderr == ""


# ── show ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", bundled_names())
def test_what_show_prints_is_a_profile_that_means_the_same(folder: Path, name: str) -> None:
    ran = automix("show", name, "--origin")
    assert (ran.exit_code, ran.stderr) == (0, "")
    Path("again.yaml").write_text(ran.stdout)
    again = read_profile(Path("again.yaml"), trusted=True, origin="named")
    assert again.to_dict() == load_profile(name).to_dict()
    assert again.sha == load_profile(name).sha


def test_show_prints_the_profile_that_would_be_used(folder: Path) -> None:
    Path("automix.yaml").write_text(f"name: here\n{TWO}")
    ran = automix("show")
    assert ran.stdout.startswith("version: 1\nname: here\ntiers:\n  - name: small\n")
    assert "  scorer: exact\n" in ran.stdout


def test_show_origin_says_the_file_and_line_of_every_value(folder: Path) -> None:
    Path("automix.yaml").write_text(
        "extends: demo\ntask:\n  scorer: numeric\nverification: {batch: [1, 2]}\nrouter:\n  kind: pomdp\n"
    )
    ran = automix("show", "--origin")
    lines = bundled_lines("demo")
    for expected in (
        "scorer: numeric  # automix.yaml:3",
        "batch: [1, 2]  # automix.yaml:4",
        "kind: pomdp  # automix.yaml:6",
        f"instruction: Answer with the result only.  # demo.yaml:{lines['instruction']}",
        f"model: demo/large  # demo.yaml:{lines['model: demo/large']}",
        "pass_score: 0.5  # default",
        "concurrency: 16  # default",
    ):
        assert f"{expected}\n" in ran.stdout
    values = [line for line in ran.stdout.splitlines() if not line.endswith(":")]
    assert all("  # " in line for line in values)


def bundled_lines(name: str) -> dict[str, int]:
    """The line on which each of a few words first stands in a bundled profile."""
    path = load_profile(name).path
    assert path is not None
    lines = path.read_text().splitlines()
    return {
        word: next(i for i, line in enumerate(lines, 1) if line.strip().startswith(word))
        for word in ("instruction", "model: demo/large")
    }


def test_show_says_what_a_price_is_where_the_profile_leaves_it_open(folder: Path) -> None:
    Path("p.yaml").write_text(
        "tiers: [{name: a, model: openai/gpt-4.1}, {name: b, model: openai/unheard-of}]"
    )
    ran = automix("show", "p.yaml")
    assert "model: openai/gpt-4.1  # list price 2 in, 8 out, USD per million tokens\n" in ran.stdout
    assert "model: openai/unheard-of  # price unknown: add price: {input: …, output: …}\n" in ran.stdout


def test_show_prints_json_with_the_hash(folder: Path) -> None:
    told = json.loads(automix("show", "demo", "--json").stdout)
    assert told["sha"] == load_profile("demo").sha
    assert told["tiers"][0]["price"] == {"input": 0.1, "output": 0.4}


def test_show_of_nothing_is_an_error_that_a_newcomer_can_act_on(folder: Path) -> None:
    ran = automix("show")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    for way in ("export OPENAI_API_KEY", "ollama serve", "--profile demo"):
        assert way in ran.stderr


# ── check ─────────────────────────────────────────────────────────────────────────────────────


def test_check_says_ok_and_what_is_in_the_file(folder: Path) -> None:
    Path("p.yaml").write_text(TWO + "router: {kind: always, tier: small}\n")
    ran = automix("check", "p.yaml")
    assert (ran.exit_code, ran.stdout) == (0, "p.yaml: ok (2 tiers, router always)\n")
    Path("p.yaml").write_text("tiers: [{name: a, model: ollama/x}]")
    ran = automix("check", "p.yaml")
    assert (ran.stdout, ran.stderr) == ("p.yaml: ok (1 tier, uncalibrated)\n", "")


def test_check_tells_every_problem_on_a_line_of_its_own_and_exits_2(folder: Path) -> None:
    Path("p.yaml").write_text(TWO + "task: {scorer: f2}\nlimits: {attempts: no}\n")
    ran = automix("check", "p.yaml")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert (
        'p.yaml:6: task.scorer: expected one of exact, numeric, choice, f1, contains, json, got "f2"'
        in ran.stderr
    )
    assert len(ran.stderr.splitlines()) == 2
    assert "p.yaml:7: limits.attempts: no is false to some YAML readers" in ran.stderr
    told = json.loads(automix("check", "p.yaml", "--json").stdout)
    assert (told["ok"], len(told["problems"])) == (False, 2)


@pytest.mark.parametrize(
    ("router", "message"),
    [
        ("{kind: pomdp}", "p.yaml:4: router: a router of kind pomdp needs the key cost_weight"),
        ("{kind: threshold, cut: high}", 'p.yaml:4: router.cut: expected a number from 0 to 1, got "high"'),
        ("{kind: threshold, cut: 0.5}", ""),
    ],
)
def test_check_tells_of_a_router_that_ask_could_not_use(folder: Path, router: str, message: str) -> None:
    Path("p.yaml").write_text(f"version: 1\nextends: demo\n# learned\nrouter: {router}\n")
    ran = automix("check", "p.yaml")
    assert ran.exit_code == (2 if message else 0)
    assert message in ran.stderr


def test_check_tells_what_does_not_fit_together_beside_what_cannot_be_read(folder: Path) -> None:
    Path("p.yaml").write_text(
        "tiers:\n"
        "- {name: a, model: ollama/x, rpm: -1}\n"
        "- {name: a, model: ollama/y, api_base: 'http://example.org', api_key_env: KEY}\n"
        "- {name: c, model: ollama/z}\n"
        "- {name: d, model: ollama/z}\n"
        "verification: {signal: consistency, max_votes: 0, batch: [2, 1]}\n"
        "router: {kind: always, tier: e, cost_weight: -1}\n"
    )
    told = json.loads(automix("check", "p.yaml", "--json").stdout)["problems"]
    assert sorted(told) == [
        "p.yaml:2: tiers[0].rpm: expected a whole number from 1 to 10000000, got -1",
        "p.yaml:3: tiers[1].api_base: would send the key in the clear: use https://",
        "p.yaml:3: tiers[1]: is named a like tiers[0]",
        "p.yaml:5: tiers[3]: is the same model with the same parameters as tiers[2]",
        "p.yaml:6: verification.batch: expected rising numbers of votes such as [1, 2, 4], got [2, 1]",
        "p.yaml:6: verification.max_votes: signal: consistency compares 2 answers at least",
        "p.yaml:7: router.cost_weight: expected a number from 0 to 1e+12, got -1",
        "p.yaml:7: router.tier: expected one of a, c, d",
    ]


@pytest.mark.parametrize("tiers", ["[]", "[3, null]", "{name: a}", "", "[{name: 3, model: [x]}]"])
def test_check_tells_of_tiers_of_any_shape_without_stumbling(folder: Path, tiers: str) -> None:
    Path("p.yaml").write_text(f"tiers: {tiers}\nrouter: {{kind: always, tier: a}}\nverification: 3\n")
    ran = automix("check", "p.yaml")
    assert ran.exit_code == 2
    assert "p.yaml:1: tiers" in ran.stderr
    assert "p.yaml:3: verification: expected a mapping" in ran.stderr


def test_check_json_of_a_good_file_has_no_problems(folder: Path) -> None:
    Path("p.yaml").write_text(TWO)
    assert json.loads(automix("check", "p.yaml", "--json").stdout) == {
        "file": "p.yaml",
        "ok": True,
        "problems": [],
    }


def test_check_warns_of_unknown_prices_on_stderr(folder: Path) -> None:
    Path("p.yaml").write_text(TWO)
    ran = automix("check", "p.yaml")
    assert "large: the price of demo/large is unknown, so costs will be null" in ran.stderr
    assert "- {name: large, model: demo/large, price: {input: …, output: …}}" in ran.stderr
    assert automix("check", "p.yaml", "--quiet").stderr == ""


def test_check_warns_of_what_would_be_refused_when_the_file_is_found_by_itself(folder: Path) -> None:
    text = 'tiers: [{name: a, model: hosted_vllm/x, api_base: "http://gpu.example:8000/v1"}]\n'
    Path("automix.yaml").write_text(text)
    ran = automix("check", "automix.yaml")
    assert ran.exit_code == 0
    assert "works with --profile automix.yaml only" in ran.stderr
    assert "automix.yaml:1: tiers[0].api_base: may name this machine only" in ran.stderr
    Path("other.yaml").write_text(text)
    assert "only; found by itself" not in automix("check", "other.yaml").stderr


def test_check_of_a_file_that_is_not_there_exits_2(folder: Path) -> None:
    ran = automix("check", "nowhere.yaml")
    assert ran.exit_code == 2
    assert "nowhere.yaml: cannot be read: No such file or directory" in ran.stderr


# ── init ──────────────────────────────────────────────────────────────────────────────────────


def test_init_starts_a_profile_that_checks_and_is_used(folder: Path) -> None:
    ran = automix("init", "openai")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert automix("check", "automix.yaml").exit_code == 0
    used = load_profile()
    assert (used.origin, used.tiers) == ("discovered", load_profile("openai").tiers)


def test_every_suggestion_in_the_started_file_is_valid(folder: Path) -> None:
    automix("init", "demo")
    head, _, suggested = Path("automix.yaml").read_text().partition("for example:\n")
    Path("automix.yaml").write_text(head + "\n" + re.sub("(?m)^# ", "", suggested))
    p = read_profile(Path("automix.yaml"), trusted=False, origin="discovered")
    assert p.limits.max_cost == 1.0
    assert p.task.instruction == "Answer with a single word."
    assert (p.task.scorer, p.verification.max_votes) == ("exact", 8)


def test_init_leaves_an_existing_file_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("automix.yaml").write_text(TWO)
    ran = automix("init", "demo")
    assert ran.exit_code == 2
    assert "automix.yaml exists and is left as it is" in ran.stderr
    assert Path("automix.yaml").read_text() == TWO
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    (folder / "config" / "automix").mkdir(parents=True)
    Path("automix.yaml").rename(folder / "config" / "automix" / "automix.yaml")
    ran = automix("init")
    assert ran.exit_code == 2
    assert "automix.yaml is already used here" in ran.stderr


def test_init_names_a_file(folder: Path) -> None:
    ran = automix("init", "demo", "-o", "-")
    assert (ran.exit_code, ran.stderr) == (2, "automix: -o: expected a FILE; - would be stdout\n")
    assert not Path("-").exists()


def test_init_where_nothing_can_be_written_says_so(folder: Path) -> None:
    ran = automix("init", "demo", "-o", "nowhere/automix.yaml")
    assert ran.exit_code == 1
    assert "nowhere/automix.yaml: cannot be written: No such file or directory" in ran.stderr
