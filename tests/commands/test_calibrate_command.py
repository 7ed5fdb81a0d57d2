"""`automix calibrate` from a shell: what it collects, writes, says and refuses."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from loopback import Loopback, profile_for
from shell import ROOT, Ran, automix, jsonl, on_terminal

QUESTIONS = ROOT / "profiles" / "demo-questions.jsonl"
CALIBRATE = ("calibrate", "--folds", "3")  # what is tested here does not hang on the number of folds
FEW = 60  # enough to hold rows out


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo was calibrated on 300 rows: automix.yaml, traces.jsonl, a warm cache."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "labelled.jsonl").write_text("".join(QUESTIONS.read_text().splitlines(keepends=True)[::3]))
    env = {"AUTOMIX_CACHE_DIR": str(folder / "cache"), "PYTHONHASHSEED": "1"}
    args = (
        *CALIBRATE,
        "labelled.jsonl",
        "--profile",
        "demo",
        "-o",
        "automix.yaml",
        "--traces",
        "traces.jsonl",
    )
    ran = automix(*args, cwd=folder, env=env)
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    for row in rows:
        row["tiers"]["small"]["votes"] = row["tiers"]["small"]["votes"][:3]  # the fewer, the quicker a plan
    parsed = [row for row in rows if None not in row["tiers"]["small"]["votes"]]
    (folder / "few.jsonl").write_text(jsonl(*parsed[:FEW]))
    (folder / "said.txt").write_text(ran.out)
    (folder / "noted.txt").write_text(ran.err)
    return folder


@pytest.fixture
def here(demo: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs a command in that folder."""
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(demo / "cache"))
    return lambda *args, **more: automix(*args, cwd=demo, **more)


# ---------------------------------------------------------------- from questions to answers


def test_it_says_what_it_costs_before_and_how_to_use_it_after(demo: Path) -> None:
    noted = (demo / "noted.txt").read_text()
    assert noted.index("worst") < noted.index("written")
    *_, use, bill = noted.splitlines()
    assert use == 'use it: automix ask "…"'
    assert bill.startswith("spent $0.")


def test_it_prints_plan_figures_health_and_one_verdict(demo: Path) -> None:
    said = (demo / "said.txt").read_text()
    for word in (
        "plan: start at small",
        "go to large",
        "held out",
        "always:large",
        "random-mix",
        "threshold",
    ):
        assert word in said
    assert "oracle" in said
    assert "AUROC" in said
    assert said.rstrip().splitlines()[-1].startswith("Route: +")


def test_the_profile_extends_the_bundled_one_and_knows_what_it_was_fitted_on(demo: Path) -> None:
    profile = yaml.safe_load((demo / "automix.yaml").read_text())
    fitted = profile["router"]["fitted"]
    assert profile["extends"] == "demo"
    assert profile["router"]["kind"] == "pomdp"
    assert fitted["rows"] == 300
    assert fitted["models"] == ["demo/small", "demo/large"]
    assert {"data_sha256", "prompt_sha256", "prices", "date", "held_out", "verdict"} <= set(fitted)


def test_ask_finds_the_calibrated_profile_and_tells_beliefs(here: Callable[..., Ran]) -> None:
    ran = here("ask", "--json", "What is 17 * 23?")
    [row] = ran.rows
    assert row["answer"] == "391"
    assert 0.5 < row["confidence"] < 1
    assert "report" in row["reason"]
    assert "uncalibrated" not in ran.err
    assert here("profile", "check", "automix.yaml").code == 0


def test_verify_gives_the_posterior_and_says_so(here: Callable[..., Ran]) -> None:
    ran = here("verify", "--question", "What is 17 * 23?", "--answer", "391")
    [row] = here("verify", "--question", "What is 17 * 23?", "--answer", "391", "--json").rows
    answers, wrong = row["calibrated_on"].values()
    assert f"; small; as in {answers} labelled answers, {wrong} wrong)" in ran.out
    assert row["calibrated"] is True
    assert row["confidence"] != row["votes"]["correct"] / sum(row["votes"].values())
    assert answers == 300
    [row] = here(
        "verify", "--question", "What is 17 * 23?", "--answer", "391", "--tier", "large", "--json"
    ).rows
    shares = row["votes"]["correct"] / sum(row["votes"].values())
    assert (row["confidence"], row["calibrated"], row["calibrated_on"]) == (shares, False, None)


def test_traces_need_no_calls_and_give_the_same_router(demo: Path, here: Callable[..., Ran]) -> None:
    first = yaml.safe_load((demo / "automix.yaml").read_text())["router"]
    options = ("--profile", "demo", "-o", "again.yaml", "--offline", "--baseline", "small")
    ran = here(*CALIBRATE, "traces.jsonl", *options)
    assert ran.code == 0
    again = yaml.safe_load((demo / "again.yaml").read_text())["router"]
    assert again["prior"] == first["prior"]
    assert again["cost_weight"] == pytest.approx(first["cost_weight"])
    assert again["fitted"]["data_sha256"] != first["fitted"]["data_sha256"]
    assert (first["fitted"].get("baseline"), again["fitted"]["baseline"]) == (None, "small")
    shares = {name: hits / cases for name, (hits, cases) in first["fitted"]["differing"].items()}
    assert 0 < shares["large"] < shares["small"] < 1  # what differs from small was escalated


def test_a_second_run_pays_nothing_and_comes_to_the_same(demo: Path, here: Callable[..., Ran]) -> None:
    rows = (demo / "labelled.jsonl").read_text().splitlines(keepends=True)
    (demo / "again.jsonl").write_text("".join(rows[:30]))
    (demo / "three.yaml").write_text("version: 1\nextends: demo\nverification: {max_votes: 3}\n")
    runs = []
    for seed, source in (("1", "--refresh"), ("2", "--offline")):
        args = (*CALIBRATE, "again.jsonl", "--profile", "three.yaml", "-o", f"seed{seed}.yaml", source)
        assert here(*args, env={"PYTHONHASHSEED": seed}).code == 0
        runs.append(yaml.safe_load((demo / f"seed{seed}.yaml").read_text()))
        runs[-1]["router"]["fitted"].pop("date")  # midnight may lie between them
    assert runs[0] == runs[1]


def test_comments_and_everything_else_of_a_profile_survive(demo: Path, here: Callable[..., Ran]) -> None:
    text = "# mine\nversion: 1\nextends: demo  # the base\n\ntask:\n  scorer: exact # keep\n"
    (demo / "mine.yaml").write_text(text)
    assert here(*CALIBRATE, "few.jsonl", "--profile", "mine.yaml").code == 0
    after = (demo / "mine.yaml").read_text()
    assert after.startswith(text)
    assert "\nrouter:\n" in after[len(text) - 1 :]
    assert here(*CALIBRATE, "few.jsonl", "--profile", "mine.yaml", "--keep", "0.9").code == 0
    again = (demo / "mine.yaml").read_text()
    assert again.count("router:") == 1
    assert yaml.safe_load(again)["router"]["kind"] in ("pomdp", "always")


def test_other_prompts_or_models_than_fitted_are_said_once(demo: Path, here: Callable[..., Ran]) -> None:
    text = (demo / "automix.yaml").read_text()
    (demo / "changed.yaml").write_text(f"{text}\ntask:\n  instruction: Reply in one word.\n")
    ran = here("ask", "--profile", "changed.yaml", "What is 17 * 23?")
    assert ran.code == 0
    assert ran.err.count("the prompts changed since this profile was calibrated") == 1
    tiers = (
        "tiers:\n  - {name: small, model: demo/small, price: {input: 5, output: 5}}\n"
        "  - {name: large, model: demo/large, price: {input: 2, output: 8}}\n"
    )
    (demo / "dearer.yaml").write_text(f"{text}\n{tiers}")
    ran = here("ask", "--profile", "dearer.yaml", "What is 17 * 23?")
    assert ran.err.count("the prices changed since this profile was calibrated") == 1


def test_drift_is_said_when_a_batch_no_longer_looks_like_the_fit(
    demo: Path, here: Callable[..., Ran]
) -> None:
    easy = jsonl(*({"question": f"What is {n} + {n + 1}?"} for n in range(100)))
    ran = here("ask", "-q", stdin=easy)
    assert ran.err == ""
    told = here("ask", stdin=easy)
    assert "when fitted: recalibrate" in told.err
    like = here("ask", stdin=(demo / "labelled.jsonl").read_bytes())
    assert "recalibrate" not in like.err
    assert "cheaper than large alone" in told.err
    assert "calibrated at" in told.err
    torn = here("ask", stdin=f"{easy}{{}}\n")
    assert torn.code == 3
    assert "the 100 answered rows alone: the others may cost more, so that no saving is claimed" in torn.err
    for claim in ("recalibrate", "calibrated at", "cheaper than"):
        assert claim not in torn.err


def test_json_holds_what_is_said(here: Callable[..., Ran]) -> None:
    [found] = here(*CALIBRATE, "few.jsonl", "--profile", "demo", "-o", "j.yaml", "--json").rows
    assert found["rows"] == FEW
    assert found["verdict"]["kind"] in ("route", "do not route", "not enough rows", "single tier")
    assert set(found["figures"]) >= {
        "pomdp",
        "threshold",
        "oracle",
        "random-mix",
        "always:small",
        "always:large",
    }
    assert "points over the best random mix" in found["sentence"]


# ---------------------------------------------------------------- objectives


@pytest.mark.parametrize("args", [("--budget", "1"), ("--objective", "ibc")])
def test_each_objective_writes_a_router(args: tuple[str, ...], demo: Path, here: Callable[..., Ran]) -> None:
    path = demo / f"{args[0]}.yaml"
    path.unlink(missing_ok=True)
    assert here(*CALIBRATE, "few.jsonl", "--profile", "demo", "-o", path, *args).code == 0
    assert yaml.safe_load(path.read_text())["router"]["kind"] in ("pomdp", "always")


def test_a_larger_cost_weight_is_cheaper(demo: Path, here: Callable[..., Ran]) -> None:
    def cost(weight: str) -> float:
        path = demo / f"w{weight}.yaml"
        args = (*CALIBRATE, "few.jsonl", "--profile", "demo", "-o", path, "--json")
        [found] = here(*args, "--cost-weight", weight).rows
        assert yaml.safe_load(path.read_text())["router"]["kind"] in ("pomdp", "always")
        return found["figures"]["pomdp"]["cost"]["value"]

    assert cost("1") > cost("200") > cost("2000")


def test_objectives_exclude_each_other(here: Callable[..., Ran]) -> None:
    assert here(*CALIBRATE, "few.jsonl", "--keep", "0.9", "--budget", "1").code == 2
    assert here(*CALIBRATE, "few.jsonl", "--budget", "1", "--certify", "0.9").code == 2


def test_too_few_rows_for_a_certificate_exit_5_with_the_number_needed(
    demo: Path, here: Callable[..., Ran]
) -> None:
    ran = here(
        *CALIBRATE, "few.jsonl", "--profile", "demo", "-o", "few.yaml", "--certify", "0.9", "--keep", "0.9"
    )
    assert ran.code == 5
    assert "labelled questions would likely do" in ran.err
    assert not (demo / "few.yaml").exists()


# ---------------------------------------------------------------- verdicts


def synthetic(rows: int, small: float, large: float, votes: bool = True, seed: int = 0) -> str:
    """Traces of two tiers; the small one's votes know whether it is right, if `votes`."""
    rng = random.Random(seed)
    found = []
    for n in range(rows):
        right = rng.random() < small
        tiers = {
            "small": {"score": float(right), "cost": 1.0, "vote_cost": 0.1},
            "large": {"score": float(rng.random() < large), "cost": 20.0},
        }
        said = (0.9 if right else 0.2) if votes else 0.5
        tiers["small"]["votes"] = [int(rng.random() < said) for _ in range(6)]
        found.append({"id": n, "question": f"q{n}", "tiers": tiers})
    return jsonl(*found)


@pytest.mark.parametrize(
    ("traces", "begins", "words"),
    [
        (synthetic(400, 0.6, 0.95), "Route: +", ()),
        (
            synthetic(400, 0.8, 0.7),
            "Use small: no tier is better, and none is cheaper",
            ("large costs more than small and is worse",),
        ),
        (
            synthetic(600, 0.6, 0.95, votes=False),
            "Use large: for 98 % of",
            ("hardly tells right from wrong",),
        ),
        (
            synthetic(12, 0.6, 0.9),
            "Not enough to tell: 12 questions",
            ("The router that is written asks large alone: there is nothing to prove.",),
        ),
        (synthetic(60, 1.0, 1.0), "", ("small is right on every row",)),
    ],
    ids=["pays", "dearer is worse", "uninformative verifier", "too few rows", "one class"],
)
def test_each_case_has_its_own_plain_message(
    traces: str, begins: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text(traces)
    ran = automix(*CALIBRATE, "t.jsonl", "--profile", "demo", "-o", "out.yaml", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.rstrip().splitlines()[-1].startswith(begins)
    for word in words:
        assert word in ran.out
    kind = yaml.safe_load((tmp_path / "out.yaml").read_text())["router"]["kind"]
    assert kind == "pomdp" if begins.startswith("Route") else kind in ("pomdp", "always")
    if begins.startswith("Use "):
        assert kind == "always"


def test_an_unproven_router_is_called_so_where_it_is_written_and_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(synthetic(24, 0.6, 0.95))
    ran = automix(*CALIBRATE, "t.jsonl", "--profile", "demo", "--cost-weight", "0.01", cwd=tmp_path)
    assert "written: router of automix.yaml, unproven: these rows do not show that it pays\n" in ran.err
    assert 'use it: automix ask "…"' in ran.err
    asked = automix("ask", "What is 2 + 2?", cwd=tmp_path)
    assert "the router of profile automix is unproven: its rows do not show that it pays" in asked.err


FREE = "{name: %s, model: demo/%s, price: {input: 0, output: 0}}"


def test_where_nothing_can_be_saved_no_more_rows_are_asked_for(tmp_path: Path) -> None:
    tiers = "\n".join(f"  - {FREE % (name, name)}" for name in ("small", "large"))
    (tmp_path / "automix.yaml").write_text(f"version: 1\ntiers:\n{tiers}\n")
    rows = QUESTIONS.read_text().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(rows[:12]))
    note = "note: every tier costs $0 here, so that routing can save no money"
    assert note in automix(*CALIBRATE, "few.jsonl", "--dry-run", cwd=tmp_path).err
    valued = automix(*CALIBRATE, "few.jsonl", "--dry-run", "--value-of-time", "9", cwd=tmp_path)
    assert note not in valued.err
    ran = automix(*CALIBRATE, "few.jsonl", "--traces", "t.jsonl", cwd=tmp_path)
    assert ran.err.count(note) == 1
    assert ran.err.index(note) < ran.err.index("every tier, all votes"), "before anything is asked"
    assert "Nothing to save: every tier costs $0, which more rows would not change." in ran.out
    assert "are needed" not in ran.out
    bench = automix("bench", "few.jsonl", "--policies", "threshold", "--offline", cwd=tmp_path)
    assert bench.err.count(note) == 1
    assert bench.err.index(note) < bench.err.index("every tier, all votes"), "before anything is asked"
    for dry in ((), ("--dry-run",)):
        again = automix(*CALIBRATE, "few.jsonl", "--traces", "t.jsonl", *dry, cwd=tmp_path)
        assert (again.code, again.out) == (2, "")
        assert "t.jsonl: exists" in again.err
        assert "--force overwrites the traces" in again.err
        assert "--resume" not in again.err
        assert "every tier, all votes" not in again.err


@pytest.mark.parametrize("command", ["calibrate", "bench"])
def test_prices_that_nobody_knows_are_refused_before_anything_is_asked(command: str, tmp_path: Path) -> None:
    rows = QUESTIONS.read_text().splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(rows[:2]))
    with Loopback() as server:
        tiers = [{"name": name, "model": f"openai/{name}-x", "api_base": server.url} for name in ("a", "b")]
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({"version": 1, "tiers": tiers}))
        own = (command, "few.jsonl", "--profile", "./own.yaml")
        env = {"OPENAI_API_KEY": "x"}
        ran = automix(*own, "--costs", "a=1", cwd=tmp_path, env=env)
        assert (ran.code, server.calls) == (2, [])
        assert "the price of b is unknown, and ways of routing are compared by cost" in ran.err
        assert "--costs b=1 --vote-costs b=1   says what an answer and a vote cost" in ran.err
        costs = ("--costs", "a=1,b=2", "--vote-costs", "a=1,b=2")
        told = automix(*own, *costs, "--force", cwd=tmp_path, env=env)
        assert (told.code, bool(server.calls)) == (0, True), told.err


def test_one_tier_is_legal_and_has_nothing_to_route(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(synthetic(100, 0.6, 0.9))
    ran = automix(*CALIBRATE, "t.jsonl", "--tiers", "small", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert "one tier" in ran.out


# ---------------------------------------------------------------- what it reads


def test_a_dry_run_says_calls_and_dollars_and_sends_nothing(tmp_path: Path) -> None:
    with Loopback() as server:
        profile = profile_for(server, tmp_path)
        [plan] = automix(*CALIBRATE, QUESTIONS, "--profile", profile, "--dry-run", "--json").rows
        assert server.ledger == []
    assert plan["worst"]["calls"] == 900 * 10
    assert 0 < plan["low"]["usd"] < plan["expected"]["usd"] < plan["worst"]["usd"]


@pytest.mark.parametrize(
    ("count", "lacks", "args", "notes"),
    [
        (
            3,
            (),
            (),
            [
                "note: 3 questions, and at least 30 are needed: the run would not tell whether routing pays; "
                "add 27 more with a right answer"
            ],
        ),
        (30, (), (), []),
        (31, (5,), (), ["note: 1 row without a label would be left out, the first id q5"]),
        (
            31,
            (5, 6),
            (),
            [
                "note: 29 of 31 rows have a label: the run would compare answers with those of large, and "
                "lose at most 2 points against large instead of keeping at least 98 % of the best tier's "
                "quality; label the others, the first of them id q5, or --drop-incomplete uses the rows with "
                "a label alone"
            ],
        ),
        (31, (5, 6), ("--baseline", "large"), ["29 of 31 rows have a label"]),
        (31, (5,), ("--drop-incomplete",), []),
        (30, (5,), ("--drop-incomplete",), ["29 questions"]),
        (31, (5, 6), ("--budget", "1"), ["those of large; label the others, the first of them id q5, or"]),
        (31, (5,), ("--labels-from", "large"), []),
        (31, (5,), ("--tiers", "large"), []),
    ],
)
def test_a_dry_run_says_before_the_bill_what_would_spoil_the_run(
    count: int, lacks: tuple[int, ...], args: tuple[str, ...], notes: list[str], tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()[:count]]
    for n, row in enumerate(rows):
        row["id"] = f"q{n}"
        if n in lacks:
            del row["expected"]
    (tmp_path / "q.jsonl").write_text(jsonl(*rows))
    ran = automix(*CALIBRATE, "q.jsonl", "--profile", "demo", *args, "--dry-run", cwd=tmp_path)
    said = [line for line in ran.err.splitlines() if line.startswith("note: ")]
    assert ran.code == 0
    assert len(said) == len(notes)
    for line, words in zip(said, notes, strict=True):
        assert words in line
    costs = "this file costs" in ran.out
    assert costs == (not any("needed" in line for line in said) and "--tiers" not in args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--labels-from", "huge"), "has no tier huge"),
        (("--labels-from", "huge", "--dry-run"), "has no tier huge"),
        (("-o", "q.jsonl"), "q.jsonl"),
        (("-o", "no/o.yaml"), "there is no folder no"),
        (("--query-router", "knn", "--embed-model", "openai/none-such", "--dry-run"), "price of openai/none"),
    ],
    ids=" ".join,
)
def test_what_would_fail_after_paying_is_refused_before(
    args: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "q.jsonl").write_text("".join(QUESTIONS.read_text().splitlines(keepends=True)[:3]))
    with Loopback() as server:
        ran = automix(*CALIBRATE, "q.jsonl", "--profile", profile_for(server, tmp_path), *args, cwd=tmp_path)
        assert server.ledger == []
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_dry_run_counts_the_picked_tiers_only(tmp_path: Path) -> None:
    args = (*CALIBRATE, QUESTIONS, "--profile", "demo", "--tiers", "large", "--dry-run", "--json")
    [plan] = automix(*args, cwd=tmp_path).rows
    assert plan["worst"]["calls"] < 900 * 10


def test_without_a_profile_a_router_has_nowhere_to_go_and_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(synthetic(30, 0.6, 0.9))
    ran = automix(*CALIBRATE, "t.jsonl", "-o", "o.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "no profile was given or found\n  the tiers of a profile must have the names" in ran.err
    assert "automix profile init --tiers small=MODEL,large=MODEL   makes one" in ran.err


@pytest.mark.parametrize(
    ("width", "shown", "absent"),
    [
        (40, "USD per 1,000", "abstained"),
        (80, "95 % intervals", "left out on this width: interval of USD"),
        (120, "95 %", ""),
    ],
)
def test_figures_are_whole_on_every_terminal(width: int, shown: str, absent: str, demo: Path) -> None:
    ran = on_terminal(*CALIBRATE, demo / "few.jsonl", "-q", COLUMNS=str(width), TERM="xterm")
    assert ran.code == 0, ran.err
    text = re.sub("\x1b\\[[0-9;]*m", "", ran.out)
    assert shown in text
    table = text[text.index("held out, means over folds (") : text.index("verifier small")]
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= width, table
    assert "always:small" in table
    assert ("left out on this width" in " ".join(table.split())) == bool(absent)
    assert absent in " ".join(table.split())


def test_rows_without_labels_are_refused_or_measured_as_agreement(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()[:40]]
    (tmp_path / "q.jsonl").write_text(jsonl(*({"question": r["question"], "id": r["id"]} for r in rows)))
    args = (*CALIBRATE, "q.jsonl", "--profile", "demo", "-o", "out.yaml")
    refused = automix(*args, cwd=tmp_path)
    assert refused.code == 2
    assert "--baseline" in refused.err
    ran = automix(*args, "--labels-from", "large", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert "agreement with large" in ran.out
    assert "quality" not in ran.out.split("held out")[1].split("verifier")[0]


def test_flat_tables_are_read_by_a_mapping(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in synthetic(80, 0.6, 0.9).splitlines()]
    cells = [
        f"{n},{r['tiers']['small']['score']},{r['tiers']['large']['score']},0.5" for n, r in enumerate(rows)
    ]
    (tmp_path / "t.csv").write_text("id,a,b,p\n" + "\n".join(cells) + "\n")
    ran = automix(
        *(*CALIBRATE, "t.csv", "--columns", "small.score=a,small.confidence=p,large.score=b"),
        *("--costs", "small=1,large=20", "--json"),
        cwd=tmp_path,
    )
    assert ran.code == 0, ran.err
    assert ran.rows[0]["rows"] == 80


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("", (), "no rows"),
        ('{"question": "q", "expected": "a"}\n{oops\n', (), "t.jsonl:2: not JSON"),
        ('{"id": 1, "tiers": {"small": {"score": 2}}}\n', (), "score"),
        ('{"id": 1, "tiers": {"small": {"score": NaN}}}\n', (), "t.jsonl:1: NaN"),
        (synthetic(5, 0.5, 0.5) + synthetic(5, 0.5, 0.5), (), "stands twice"),
        (synthetic(30, 0.5, 0.5), ("--tiers", "smal"), "small"),
        (synthetic(30, 0.5, 0.5), ("--costs", "small"), "--costs"),
        (synthetic(30, 0.5, 0.5).replace('"cost": 20.0', '"latency": 1'), (), "--costs large=1"),
        (synthetic(30, 0.5, 0.5).replace('{"score"', '{"grade"', 1), (), "--drop-incomplete"),
        (synthetic(30, 0.5, 0.5), ("--folds", "2"), "--folds"),
        (synthetic(30, 0.5, 0.5), ("--cost-weight", "nan"), "--cost-weight: expected a finite number"),
        (synthetic(30, 0.5, 0.5), ("--keep", "nan"), "--keep: expected a finite number"),
        (synthetic(30, 0.5, 0.5), ("-o", "t.jsonl"), "t.jsonl:2: is not valid YAML"),
        (synthetic(30, 0.5, 0.5), ("-o", "no/o.yaml"), "no/o.yaml: there is no folder no"),
    ],
)
def test_what_cannot_be_used_exits_2_and_is_named(
    text: str, args: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    ran = automix(*CALIBRATE, "t.jsonl", "--profile", "demo", "-o", "o.yaml", *args, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert not (tmp_path / "o.yaml").exists()


def test_tiers_of_another_name_get_no_router(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(synthetic(60, 0.6, 0.9).replace('"small"', '"tiny"'))
    shown = automix(*CALIBRATE, "t.jsonl", "--profile", "demo", cwd=tmp_path)
    assert shown.code == 0
    reason = (
        "nothing written: the tiers of the rows are tiny, large, and those of the profile are small, large\n"
    )
    assert reason in shown.err
    as_json = automix(*CALIBRATE, "t.jsonl", "--profile", "demo", "--json", cwd=tmp_path)
    assert (as_json.code, reason in as_json.err) == (0, True)
    asked = automix(*CALIBRATE, "t.jsonl", "--profile", "demo", "-o", "o.yaml", cwd=tmp_path)
    assert asked.code == 2
    assert asked.out == shown.out
    assert reason in asked.err
    assert list(tmp_path.glob("*.yaml")) == []


def test_a_run_that_pays_says_what_was_guessed_of_the_rows(tmp_path: Path) -> None:
    rows = [{"question": f"Is it {n}?", "choices": ["Rome", "Oslo"], "answer": n} for n in (1, 0)]
    (tmp_path / "rows.jsonl").write_text(jsonl(*rows))
    for more in (("-o", "own.yaml"), ("--dry-run",)):
        ran = automix("calibrate", "rows.jsonl", "--profile", "demo", *more, cwd=tmp_path)
        assert "expected=answer (answer is the place of a choice, and 0 is the first)" in ran.out + ran.err
        assert "task: {scorer: choice} in the profile judges by both" in ran.err
