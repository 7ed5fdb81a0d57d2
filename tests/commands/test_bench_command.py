"""`automix bench` from a shell: rows in, table or files out, gates, and a page that draws."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from known import draw_rows, two_tiers
from shell import COMMAND, PATIENCE, Ran, automix, environment, jsonl

QUICK = ("--policies", "random-mix,threshold,oracle")
NAMES = ["always:small", "always:medium", "random-mix", "threshold", "pomdp", "oracle"]
LAST = ("oracle", "pomdp")
EVIL = "</script><script>document.title='owned'</script><b>&amp;"


def trace_rows(rows: int = 120) -> list[dict[str, Any]]:
    found = draw_rows(two_tiers(), rows, 0)
    return [
        {**row, "dataset": "odd" if i % 2 else "even", "question": f"{EVIL} {i}"}
        for i, row in enumerate(found)
    ]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "traces.jsonl"
    path.write_text(jsonl(*trace_rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(traces: Path) -> tuple[Ran, Path]:
    """One run of most of it; several tests look at what it left behind."""
    folder = traces.parent / "out"
    ran = automix(
        "bench",
        traces,
        "--policies",
        "random-mix,threshold,pomdp,oracle",
        "-o",
        folder,
        "--html",
        "--plot",
        "--split",
        "0.6",
    )
    return ran, folder


# ------------------------------------------------------------------ on the terminal


def test_the_table_the_plot_and_the_verdict_are_on_stdout_and_nothing_else(written: tuple[Ran, Path]) -> None:
    ran = written[0]
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].endswith("120 rows, small → medium; 72 learned from, 48 held out (seed 0)")
    assert any(line.startswith("pomdp ") for line in lines)
    assert any(re.match(r"(Route|Do not route|Not enough rows)", line) for line in lines)
    assert "USD per 1,000 questions" in ran.out
    assert "· best mix of single tiers" in ran.out
    assert ran.err.startswith(
        "written: runs.jsonl, summary.json, summary.csv, report.md, frontier.svg, config.yaml, index.html in"
    )


def test_a_rule_of_two_tiers_can_be_named(tmp_path: Path) -> None:
    answers = [{"small": "1", "medium": "12"[n % 2], "large": "1"} for n in range(40)]
    costs = {"small": 1, "medium": 2, "large": 20}
    rows = [
        {
            "id": n,
            "tiers": {t: {"answer": a, "score": int(a == "1"), "cost": costs[t]} for t, a in own.items()},
        }
        for n, own in enumerate(answers)
    ]
    (tmp_path / "rows.jsonl").write_text(jsonl(*rows))
    ran = automix("bench", tmp_path / "rows.jsonl", "--policies", "agreement:small+medium", "--json", "-q")
    assert ran.code == 0, ran.err
    assert "agreement:small+medium" in ran.rows[0]["policies"]


def test_json_is_one_object_on_stdout(traces: Path) -> None:
    ran = automix("bench", traces, *QUICK, "--json", "-q")
    assert (ran.code, ran.err) == (0, "")
    summary = ran.rows[0]
    assert summary["schema"] == "automix.bench/1"
    assert list(summary["policies"]) == ["always:small", "always:medium", "random-mix", "threshold", "oracle"]
    assert summary["headline"] == "threshold"
    assert summary["policies"]["threshold"]["lead"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "pomdp did not take part",
    }


def test_two_runs_say_the_same(traces: Path) -> None:
    def summary(seed: str) -> Any:
        env = {"PYTHONHASHSEED": seed}  # two orders of sets
        found = json.loads(automix("bench", traces, *QUICK, "--json", env=env).out)
        for policy in found["policies"].values():
            del policy["decision_seconds"], policy["router_latency"]
        return found

    assert summary("1") == summary("2")


def test_repeated_splits_say_so(traces: Path) -> None:
    ran = automix("bench", traces, *QUICK, "--split", "0.5", "--repeat", "3", "--seed", "4")
    assert ran.code == 0, ran.err
    assert "(seed 4 to 6, mean of 3 splits)" in ran.out


def test_labelled_questions_are_collected_once_and_shared(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {a} * {b}?", "expected": str(a * b)} for a in range(13, 33) for b in (7, 486)
    ]
    (tmp_path / "q.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    args = ("bench", "q.jsonl", "--profile", "demo", *QUICK)
    dry = automix(*args, "--dry-run", cwd=tmp_path)
    assert dry.code == 0
    assert "nothing was sent" in dry.out
    ran = automix(*args, "--traces", "t.jsonl", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert "40 rows, small → large" in ran.out
    assert re.fullmatch(r"spent \$0\.\d+ on calls", ran.err.splitlines()[-1])
    again = automix("bench", "t.jsonl", "--profile", "demo", *QUICK, cwd=tmp_path)
    assert again.out.replace("t.jsonl", "q.jsonl") == ran.out
    offline = automix(*args, "--offline", cwd=tmp_path)
    assert offline.out == ran.out
    assert offline.err.splitlines()[-1] == "spent $0 on calls"


SAMPLING = """version: 1
name: sampling
extends: demo
verification: {signal: consistency, max_votes: 5}
"""


def test_sampled_answers_are_collected_and_compared_by_majority(tmp_path: Path) -> None:
    rows = [{"question": f"What is {a} * 486?", "expected": str(a * 486)} for a in range(13, 43)]
    (tmp_path / "q.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    (tmp_path / "sampling.yaml").write_text(SAMPLING, encoding="utf-8")
    args = ("--profile", "sampling.yaml", "--policies", "maj", "--json")
    ran = automix("bench", "q.jsonl", *args, "--traces", "t.jsonl", cwd=tmp_path)
    assert ran.code == 0, ran.err
    policies = ran.rows[0]["policies"]
    assert list(policies) == ["always:small", "always:large", "maj@1:small", "maj@3:small", "maj@5:small"]
    costs = [policies[name]["cost"]["value"] for name in policies]
    assert costs[2] < costs[3] < costs[4] == pytest.approx(costs[0])  # the tier's answer is that of all five
    traces = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]
    assert {len(row["tiers"]["small"]["samples"]) for row in traces} == {5}
    assert all("samples" not in row["tiers"]["large"] for row in traces)
    again = automix("bench", "t.jsonl", *args, cwd=tmp_path)
    for name, figures in again.rows[0]["policies"].items():
        assert (figures["quality"], figures["cost"]) == (policies[name]["quality"], policies[name]["cost"])
    other = automix("bench", "t.jsonl", *args, "--labels-from", "small", cwd=tmp_path)
    agreement = other.rows[0]["policies"]["maj@5:small"]["quality"]["value"]
    assert agreement > policies["maj@5:small"]["quality"]["value"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--policies", "always:small,always:NOSUCH"), "no policy 'always:NOSUCH'"),
        (("--policies", "maj@3:NOSUCH"), "no policy 'maj@3:NOSUCH'"),
        (("--policies", "maj@3:small"), "profile demo asks small for 1 of 3 answers"),
        (("--policies", "oracle", "--fail-under", "knn.quality>=0"), "'knn' does not take part"),
    ],
    ids=" ".join,
)
def test_what_the_tiers_cannot_do_is_refused_before_anything_is_asked(
    args: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "q.jsonl").write_text(jsonl({"question": "What is 2 * 3?", "expected": "6"}), "utf-8")
    ran = automix(
        "bench",
        "q.jsonl",
        "--profile",
        "demo",
        *args,
        env={"AUTOMIX_CACHE_DIR": str(tmp_path / "cache")},
        cwd=tmp_path,
    )
    assert ran.code == 2
    assert message in ran.err
    assert "dollars" not in ran.err  # the bill comes before the first call
    assert not (tmp_path / "cache").exists()


FLAT = {
    "automix.jsonl": (
        "".join(
            json.dumps({"id": i, "llama13b_f1": i % 2, "p_ver_13b": 0.9 if i % 2 else 0.1, "llama70b_f1": 1})
            + "\n"
            for i in range(60)
        ),
        "small.score=llama13b_f1,small.confidence=p_ver_13b,large.score=llama70b_f1",
    ),
    "routellm.csv": (
        "prompt,mixtral,gpt-4\n" + "".join(f"question {i},{i % 2 == 0},True\n" for i in range(60)),
        "small.score=mixtral,large.score=gpt-4",
    ),
    "routerbench.csv": (
        "sample_id,eval_name,m,m|total_cost,g,g|total_cost\n"
        + "".join(f"s{i},mmlu,{i % 2},0.001,1.0,0.02\n" for i in range(60)),
        "id=sample_id,dataset=eval_name,small.score=m,small.cost=m|total_cost,large.score=g,large.cost=g|total_cost",
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_tables_of_others_load_with_one_line(name: str, tmp_path: Path) -> None:
    text, columns = FLAT[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    costs = () if "cost" in columns else ("--costs", "small=1,large=20")
    ran = automix(
        "bench", name, "--columns", columns, *costs, "--policies", "random-mix,pomdp", "--json", cwd=tmp_path
    )
    assert ran.code == 0, ran.err
    assert ran.rows[0]["policies"]["always:large"]["quality"]["value"] == 1.0
    assert ran.rows[0]["policies"]["always:small"]["quality"]["value"] < 0.7


# ------------------------------------------------------------------ in the folder


def test_every_file_is_what_it_says(written: tuple[Ran, Path]) -> None:
    folder = written[1]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {r["policy"] for r in runs} == set(summary["policies"])
    table = list(csv.DictReader(StringIO((folder / "summary.csv").read_text(encoding="utf-8"))))
    assert float(table[-2]["quality"]) == summary["policies"]["pomdp"]["quality"]["value"]
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["split"] == 0.6
    assert config["data_sha256"] == summary["sha256"]
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert summary["sentence"] in report
    assert "## pomdp, by dataset" in report
    assert set(summary["policies"]["pomdp"]["datasets"]) == {"odd", "even"}


def test_the_plot_is_well_formed_and_names_everyone(written: tuple[Ran, Path]) -> None:
    root = ET.parse(written[1] / "frontier.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"always:small", "threshold", "pomdp", "oracle", "best mix of single tiers"} <= set(texts)
    numbers = re.findall(r"-?\d+\.\d+", ET.tostring(root, encoding="unicode"))
    assert all(-1 <= float(n) <= 1001 for n in numbers)


def test_runs_can_be_the_chosen_ones_or_none(traces: Path, tmp_path: Path) -> None:
    ran = automix("bench", traces, *QUICK, "-o", tmp_path / "some", "--runs", "chosen")
    assert ran.code == 0, ran.err
    lines = (tmp_path / "some" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5 * 60
    automix("bench", traces, *QUICK, "-o", tmp_path / "none", "--runs", "none")
    assert (tmp_path / "none" / "summary.json").exists()
    assert not (tmp_path / "none" / "runs.jsonl").exists()


def test_results_are_never_overwritten_unasked(written: tuple[Ran, Path], traces: Path) -> None:
    before = (written[1] / "summary.json").read_bytes()
    ran = automix("bench", traces, *QUICK, "-o", written[1])
    assert ran.code == 2
    assert "exists" in ran.err
    assert "--force" in ran.err
    assert (written[1] / "summary.json").read_bytes() == before


# ------------------------------------------------------------------ gates and refusals


def test_a_gate_that_is_not_met_exits_5_after_the_table(traces: Path) -> None:
    ran = automix("bench", traces, *QUICK, "--fail-under", "quality>=1.01,threshold.cost>=0")
    assert ran.code == 5
    assert "threshold.quality is" in ran.err
    assert "not >= 1.01" in ran.err
    assert "threshold" in ran.out
    assert automix("bench", traces, *QUICK, "--fail-under", "quality>=0.1").code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--fail-under", "quality>>1"), "cannot read"),
        (("--policies", "pompd"), "did you mean pomdp"),
        (("--html",), "add -o DIR"),
        (("-o", "-"), "-o: expected a DIR; - would be stdout"),
        (("--traces", "-"), "--traces: expected a FILE; - would be stdout"),
        (("--runs", "all"), "add -o DIR"),
        (("--fail-under", ""), "--fail-under: cannot read ''"),
        (("--keep", "nan"), "--keep: expected a finite number, got nan"),
        (("--split", "nan"), "--split: expected a finite number, got nan"),
        (("--budget", "inf"), "--budget: expected a finite number, got inf"),
        (("-o", __file__), "is a file"),
        (("--keep", "0.9", "--budget", "1"), "exclude each other"),
        (("--policies", "always:huge"), "no policy 'always:huge'"),
        (("--policies", "maj@5:small"), "maj@5:small cannot take part: no samples of small are recorded"),
        (("--tiers", "small,huge"), "no tier 'huge'"),
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_refused_in_a_line(args: tuple[str, ...], message: str, traces: Path) -> None:
    ran = automix("bench", traces, *args)
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""
    assert len(ran.err.splitlines()) <= 3


def test_a_policy_that_cannot_play_is_left_out_where_others_can(traces: Path, tmp_path: Path) -> None:
    three = [{**row, "tiers": {**row["tiers"], "large": {"score": 1, "cost": 90}}} for row in trace_rows(60)]
    (tmp_path / "t.jsonl").write_text(jsonl(*three), encoding="utf-8")
    names = "threshold,paper-pomdp,maj@5:small"
    ran = automix("bench", tmp_path / "t.jsonl", "--policies", names, "--sure", "0.9", "--json")
    assert ran.code == 0, ran.err
    said = ["maj@5:small left out: no samples of small", "paper-pomdp left out: it handles two tiers"]
    assert [line for line in said if line in ran.err] == said
    assert all(any(line in note for note in ran.rows[0]["notes"]) for line in said)
    assert list(ran.rows[0]["policies"]) == [*(f"always:{t}" for t in ran.rows[0]["tiers"]), "threshold"]
    assert ran.rows[0]["objective"] == {"kind": "keep", "value": 0.98, "sure": 0.9}


# ------------------------------------------------------------------ where results go


def test_a_reader_that_goes_away_is_exit_141_and_the_folder_is_whole(traces: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [*COMMAND, "bench", str(traces), *QUICK, "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(PATIENCE) == 141
    assert {"runs.jsonl", "summary.json", "report.md"} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_a_full_disk_behind_stdout_is_said_and_is_no_internal_error(traces: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "bench", str(traces), *QUICK],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("automix: stdout: No space left on device\n  make room")


def test_a_closed_stdout_is_refused_unless_there_is_a_folder(traces: Path, tmp_path: Path) -> None:
    closed = ["sh", "-c", 'exec "$0" "$@" >&-', *COMMAND, "bench", str(traces), *QUICK]
    ran = subprocess.run(closed, stderr=subprocess.PIPE, env=environment(), check=False)
    assert (ran.returncode, ran.stderr.decode().splitlines()[0]) == (
        2,
        "automix: stdout is closed: there is nowhere to write to",
    )
    assert subprocess.run([*closed, "-o", str(tmp_path / "o"), "-q"], env=environment()).returncode == 0


def test_a_locale_without_arrows_is_no_reason_to_fail(traces: Path) -> None:
    ran = automix("bench", traces, *QUICK, env={"PYTHONIOENCODING": "ascii"})
    assert ran.code == 0, ran.err
    assert "\\u2192" in ran.out


def test_a_split_without_test_rows_is_said_to_be_drawn(tmp_path: Path) -> None:
    rows = [{**row, "split": "train"} for row in trace_rows(60)]
    (tmp_path / "t.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    ran = automix("bench", tmp_path / "t.jsonl", *QUICK)
    assert ran.code == 0, ran.err
    assert 'note: the rows\' own "split" is not train and test, so one was drawn' in ran.out


def test_single_tiers_alone_get_no_verdict(traces: Path) -> None:
    ran = automix("bench", traces, "--policies", "always:small")
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("Only single tiers take part")


# ------------------------------------------------------------------ what it cannot do without


def test_a_missing_library_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    """An importer hides scikit-learn; the refusal comes before the data file is opened."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda n, p=None: None if n == 'sklearn' else found(n, p)\n"
    )
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    ran = automix("bench", "nowhere.jsonl", "--policies", "knn", env={"PYTHONPATH": path})
    assert ran.code == 2
    assert "automix-cli[routers]" in ran.err
    few = tmp_path / "few.jsonl"
    few.write_text(jsonl(*trace_rows(40)), encoding="utf-8")
    ran = automix("bench", few, "--policies", "all", "--json", env={"PYTHONPATH": path})
    assert ran.code == 0, ran.err
    assert any("scikit-learn is not installed" in note for note in ran.rows[0]["notes"])
    assert "knn" not in ran.rows[0]["policies"]


# ------------------------------------------------------------------ the page


def test_the_page_holds_its_data_and_asks_for_nothing(written: tuple[Ran, Path]) -> None:
    text = (written[1] / "index.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert EVIL not in text
    assert not re.search(r"""(src|href)=|@import|url\(|https?://(?!www\.w3\.org/2000/svg)""", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [[row["name"] for row in own["rows"]] for own in data["tables"]] == [NAMES] * 2
    assert all(head["about"] for own in data["tables"] for head in own["heads"]), "every column is explained"
    others = [n for n in NAMES if n not in LAST]
    layers = ["oracle", *others, "pomdp"] * 2
    assert re.findall(r'data-policy="([^"]*)"', text) == layers * 2, (
        "lines, then marks; one chart for wide windows, one for phones"
    )
    examples = [row["question"] for e in data["escalation"]["examples"] for row in e["rows"]]
    assert any(EVIL in question for question in examples)
    assert data["agreements"] == [], "these rows record no answers"


def test_the_chart_of_the_page_is_the_svg_of_the_folder(written: tuple[Ran, Path]) -> None:
    """Every shape of the file stands on the page for phones, too, at the same place."""
    shapes = re.compile(r"<(?:polyline|polygon|rect|circle|line|path|text) [^>]*?(?: ?/)?>")
    of_file = shapes.findall((written[1] / "frontier.svg").read_text(encoding="utf-8"))
    page = (written[1] / "index.html").read_text(encoding="utf-8")
    chart = re.search(r'<div class="frontier phone">\n(<svg .*?</svg>)', page, re.DOTALL)
    of_page = shapes.findall(chart[1])
    assert len(of_file) > 50
    assert [s for s in of_page if "data-text" not in s and 'class="touch"' not in s] == of_file


def test_the_chart_for_phones_names_every_policy_within_its_bounds(written: tuple[Ran, Path]) -> None:
    page = (written[1] / "index.html").read_text(encoding="utf-8")
    root = ET.fromstring(re.search(r'<div class="frontier phone">\n(<svg .*?</svg>)', page, re.DOTALL)[1])
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    texts = [(float(e.attrib["x"]), float(e.attrib["y"]), e.text) for e in root.iter("text")]
    assert width < 400
    assert {text for _, _, text in texts} >= set(NAMES)
    assert all(0 < x < width and 0 < y < height for x, y, _ in texts)
    middles = [e for e in root.iter("text") if e.attrib.get("text-anchor") == "middle"]
    ends = [float(e.attrib["x"]) + 3.6 * len(e.text) for e in middles if "transform" not in e.attrib]
    assert max(ends) < width, "the last tick of the axis is not cut"
    assert len({(x, y) for x, y, _ in texts}) == len(texts)


def test_the_verdict_box_begins_with_saving_quality_and_edge(written: tuple[Ran, Path]) -> None:
    page = (written[1] / "index.html").read_text(encoding="utf-8")
    box = re.search(r'<div class="verdict.*?</p></div>', page, re.DOTALL)[0]
    assert " %" not in box  # a line would end there
    box = box.replace("\N{NO-BREAK SPACE}%", " %")
    figures = re.findall(r"<b>(.*?)</b><span>(.*?)</span>", box)
    summary = json.loads((written[1] / "summary.json").read_text(encoding="utf-8"))
    saving = re.search(r"\((\d+ % cheaper)\) at ([+-]\d+\.\d points)", summary["payer"][0])
    edge = summary["policies"]["pomdp"]["edge"]["value"]
    assert [figure for figure, _ in figures] == [*saving.groups(), f"{edge:+.1f} points"]
    assert [words.split()[0] for _, words in figures] == ["than", "of", "edge:"]
    assert html.unescape(box).count(summary["sentence"]) == 1


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def chromium(page: Path, *args: str, home: Path) -> subprocess.CompletedProcess[str]:
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
    )
    command = [str(CHROMIUM), *options, f"--user-data-dir={home}", *args, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page with")
def test_the_page_draws_in_a_browser_without_an_error(written: tuple[Ran, Path], tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    seen = chromium(
        written[1] / "index.html", f"--screenshot={shot}", "--window-size=1200,1600", home=tmp_path / "a"
    )
    assert "CONSOLE" not in seen.stderr
    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    dom = chromium(written[1] / "index.html", "--dump-dom", home=tmp_path / "b").stdout
    assert dom.count('class="entry"') == 12
    assert dom.count("data-policy=") == 24
    for part in ("figures", "reliability", "money", "escalation", "plan"):
        assert re.search(rf'id="{part}"[^>]*><', dom), part
    assert "<title>owned" not in dom


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page with")
def test_a_click_in_the_legend_hides_a_policy_and_pointing_shows_its_figures(
    written: tuple[Ran, Path], tmp_path: Path
) -> None:
    probe = """<script>
    const tapped = document.querySelector('.phone [data-policy="oracle"] g.hit'), seen = [];
    const note = () => seen.push(tip.hidden ? "" : tip.textContent.split("\\n")[0]);
    tapped.dispatchEvent(new PointerEvent("pointermove", { pointerType: "touch" })); note();
    tapped.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    tapped.dispatchEvent(new PointerEvent("pointerleave", { pointerType: "touch" })); note();
    document.body.click(); note();
    document.body.dataset.seen = seen.join();
    document.querySelector('[data-for="pomdp"]').dispatchEvent(new MouseEvent("click"));
    document.querySelector('[data-for="oracle"]').dispatchEvent(new PointerEvent("pointerenter"));
    const point = document.querySelector('[data-policy="threshold"] g.hit');
    point.dispatchEvent(new PointerEvent("pointermove", { clientX: 50, clientY: 50 }));
    </script></body>"""
    text = (written[1] / "index.html").read_text(encoding="utf-8").replace("</body>", probe)
    page = tmp_path / "probed.html"
    page.write_text(text, encoding="utf-8")
    dom = chromium(page, "--dump-dom", home=tmp_path / "home").stdout
    assert 'data-seen=",oracle,"' in dom, "what was tapped stays until something else is"
    assert dom.count('<g class="policy off" data-policy="pomdp">') == 2
    assert dom.count('<g class="policy focus" data-policy="oracle">') == 2
    assert re.search(r'<div id="tip"(?! hidden)[^>]*>threshold\nvotes \d, cut', dom)


@pytest.mark.parametrize("command", ["bench", "calibrate"])
def test_free_tiers_are_named_and_value_of_time_is_offered(command: str, tmp_path: Path) -> None:
    rows = [
        {
            "id": n,
            "question": f"question {n}",
            "tiers": {
                "small": {"score": n % 2, "confidence": 0.3 + 0.4 * (n % 2), "cost": 0},
                "large": {"score": 1, "cost": 0},
            },
        }
        for n in range(40)
    ]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "--value-of-time" in automix(command, path).err
    rows[0]["tiers"]["large"]["cost"] = 0.1
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "every tier costs $0" not in automix(command, path).err
