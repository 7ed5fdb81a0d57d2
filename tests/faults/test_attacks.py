"""A: attacks from outside, on the profile, the judge, the cap, the cache and the environment."""

import asyncio
import contextlib
import csv
import io
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fork_server import ForkServer
from loopback import Call, Loopback, Reply, default_reply
from nursery import World
from shell import COMMAND, PATIENCE, Ran, environment
from test_storage import small_disk

from automix_cli import prompts
from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.budget import Budget, BudgetedBackend
from automix_cli.backends.cache import Cached
from automix_cli.backends.replies import Choice, has_text
from automix_cli.backends.store import Store, survey
from automix_cli.backends.usage import TokenCounts, usage_of
from automix_cli.cascade.cascade import Cascade
from automix_cli.errors import BudgetError
from automix_cli.profile.search import profile_of_models
from automix_cli.records import Completion, Message, Price, Question, Usage

TIERS = "tiers: [{name: small, model: demo/small}, {name: large, model: demo/large}]"


class Folder:
    """A folder to stand in, where a profile may be found, and the command that is run there."""

    def __init__(self, path: Path, command: Path) -> None:
        self.path, self.command = path, command

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        return path

    def run(self, *args: str | Path, **env: str) -> Ran:
        done = subprocess.run(
            [self.command, *map(str, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.path,
            env={**os.environ, **env},
            timeout=PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`automix`, forked from a process that has imported it: none of these needs a client."""
    folder = tmp_path_factory.mktemp("command")
    with ForkServer(folder / "socket", folder / "automix") as server:
        yield server.command


@pytest.fixture
def folder(tmp_path: Path, command: Path) -> Folder:
    return Folder(tmp_path, command)


# ---------------------------------------------------------------- A1: votes beyond the limit


def write_router(folder: Folder, router: str, verification: str = "{max_votes: 4}") -> None:
    folder.write(
        "automix.yaml",
        f"version: 1\nname: theirs\n{TIERS}\nverification: {verification}\nrouter: {router}\n",
    )


@pytest.mark.parametrize("way", ["", "--dry-run"])
@pytest.mark.parametrize(
    ("kind", "votes"),
    [
        ("threshold, cut: 0.5", "5000"),
        ("double-threshold, low: 0.1, cut: 0.5", "5"),
        ("threshold, cut: 0.5", "-1"),
        ("threshold, cut: 0.5", "many"),
    ],
)
def test_A1_a_router_that_buys_more_votes_than_the_profile_allows_is_refused(
    kind: str, votes: str, way: str, folder: Folder
) -> None:
    write_router(folder, f"{{kind: {kind}, votes: {votes}}}")
    ran = folder.run("ask", "What is 2 + 2?", "--ignore-stdin", *filter(None, [way]))
    assert ran.code == 2
    assert "automix.yaml:5: router.votes: expected a whole number from 0 to 4" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    ("router", "low", "worst"),
    [
        ("null", 3, 6),  # the rule of thumb: two of four votes settle it
        ("{kind: threshold, cut: 0.5, votes: 3}", 4, 5),
        ("{kind: threshold, cut: 0.5}", 5, 6),
        ("{kind: self-consistency}", 5, 6),
        ("{kind: always, tier: large}", 1, 1),
        ("{kind: always, tier: small}", 1, 2),  # and the other where it fails
    ],
)
def test_A1_a_dry_run_counts_the_votes_of_the_policy_itself(
    router: str, low: int, worst: int, folder: Folder
) -> None:
    write_router(folder, router)
    ran = folder.run("ask", "What is 2 + 2?", "--ignore-stdin", "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert (plan["low"]["calls"], plan["worst"]["calls"]) == (low, worst)


@pytest.mark.parametrize("kind", ["pomdp+query", "knn"])
def test_A1_a_dry_run_refuses_the_routers_that_ask_refuses(kind: str, folder: Folder) -> None:
    write_router(folder, f"{{kind: {kind}}}")
    runs = [folder.run("ask", "q", "--ignore-stdin", *way) for way in ((), ("--dry-run",))]
    assert [ran.code for ran in runs] == [2, 2]
    assert "automix bench compares routers of kind" in runs[1].err
    assert runs[0].err.endswith(runs[1].err)


# ---------------------------------------------------------------- A5: names in trace files

ODD_NAMES = {
    "ESC": "small\x1b[2J\x1b]0;owned\x07",
    "OSC 52": "\x1b]52;c;ZXZpbA==\x07",
    "markup": "</text><script>alert(1)</script>",
    "Markdown": "a|b](http://evil.example)",
    "a formula": "=HYPERLINK(1)",
    "a line feed": "small\nlarge",
    "blank": "",
    "101 characters": "x" * 101,
}


def trace_rows(small: str, large: str, count: int = 40) -> str:
    """Rows with two tiers, of which the second is right more often."""
    rows = []
    for n in range(count):
        cells = {
            small: {"score": n % 2, "votes": [n % 2] * 2, "cost": 0.001, "vote_cost": 0.0001},
            large: {"score": 1, "votes": [], "cost": 0.01},
        }
        rows.append({"id": n, "question": f"question {n} <b>&\x1b[2J", "tiers": cells})
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "verb"), [*((name, "bench") for name in ODD_NAMES), ("OSC 52", "calibrate")]
)
def test_A5_a_tier_name_that_no_profile_could_hold_is_refused_in_a_trace_file(
    name: str, verb: str, folder: Folder
) -> None:
    path = folder.write("traces.jsonl", trace_rows(ODD_NAMES[name], "large"))
    ran = folder.run(verb, path, "-o", folder.path / "out")
    assert ran.code == 2
    assert "traces.jsonl:1: tiers: expected a name of letters, digits" in ran.err
    assert ran.err.replace("\n", "").isprintable()
    assert not (folder.path / "out").exists()


def test_A5_whatever_a_name_may_hold_leaves_every_file_well_formed(folder: Folder) -> None:
    names = ("a:b/c@d+e.f_g-h", "Z9")
    folder.write("traces.jsonl", trace_rows(*names))
    ran = folder.run("bench", "traces.jsonl", "-o", "out", "--html", "--plot")
    assert ran.code == 0, ran.err
    assert (ran.out + ran.err).replace("\n", "").isprintable()
    files = [path for path in (folder.path / "out").iterdir() if path.is_file()]
    assert {".svg", ".md", ".html"} <= {path.suffix for path in files}
    for path in files:
        text = path.read_text("utf-8")
        assert "\x1b" not in text
        if path.suffix == ".svg":
            ElementTree.fromstring(text)
        if path.suffix == ".csv":
            assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1


# ---------------------------------------------------------------- A6: an account in the environment

ACCOUNT = {
    "OPENAI_CUSTOM_HEADERS": "X-Account: account-canary\nAuthorization: Bearer account-canary",
    "OPENAI_ORG_ID": "account-canary",
    "OPENAI_PROJECT_ID": "account-canary",
    "OPENAI_ORGANIZATION": "account-canary",
}


def test_A6_an_account_at_openai_is_shown_to_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from automix_cli.backends.litellm import LiteLLMBackend
    from automix_cli.backends.retry import Retrier
    from automix_cli.errors import BackendError

    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    providers = ("openai", "hosted_vllm", "groq", "together_ai", "mistral", "deepseek", "xai", "perplexity")

    async def ask_all(url: str) -> None:
        backend = LiteLLMBackend(Retrier(attempts=1), environ={"MY_KEY": "named-key"})
        for provider in providers:
            hello = (Message("user", "hello"),)
            request = Request(model=f"{provider}/m", messages=hello, api_base=url, api_key_env="MY_KEY")
            with contextlib.suppress(BackendError):  # some releases cannot read what some providers leave out
                await backend.complete(request)
        await backend.aclose()

    headers: list[object] = []

    def answer(call: Call) -> str:
        headers.append(dict(call.headers))
        return "hello"

    with Loopback() as server:
        server.reply = answer
        asyncio.run(ask_all(server.url))
        assert len(server.calls) == len(providers)
        assert {entry.auth for entry in server.calls} == {"Bearer named-key"}
    assert len(headers) >= len(providers)
    assert "account-canary" not in repr(headers)
    assert all(os.environ[name] == value for name, value in ACCOUNT.items())


def test_A6_openai_itself_is_shown_the_account_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from automix_cli.backends.endpoints import endpoint_of
    from automix_cli.backends.litellm_library import Clients, load_litellm

    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    key = {"OPENAI_API_KEY": "own-key"}
    clients = Clients(load_litellm())
    own = clients.client(endpoint_of(Request(model="openai/m", messages=()), key))
    other = clients.client(
        endpoint_of(Request(model="openai/m", messages=(), api_base="http://127.0.0.1:9"), {})
    )
    assert (own.organization, own.project) == ("account-canary", "account-canary")
    assert (other.organization, other.project) == (None, None)
    asyncio.run(clients.aclose())


# ---------------------------------------------------------------- A7: a clock set back


def test_A7_refresh_refreshes_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(model="m", messages=(Message("user", "q"),))

    def ask(answer: str, *, refresh: bool) -> str:
        async def main() -> str:
            cached = Cached(ScriptedBackend([answer]), Store(tmp_path / "cache"), refresh=refresh)
            text = (await cached.complete(request))[0].text
            assert (await cached.complete(request))[0].text == text, "paid once a run"
            await cached.aclose()
            return text

        return asyncio.run(main())

    assert ask("old", refresh=False) == "old"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    assert ask("new", refresh=True) == "new"
    assert ask("newer", refresh=False) == "new"
    assert ask("newest", refresh=True) == "newest"


# ---------------------------------------------------------------- A8: text that nobody sees

INVISIBLE = ("\u200b", "\u2060\u200b\u3164", " \ufeff\u00ad\n", "\u115f\u1160\uffa0\u2800", "\u034f\ufe0f")


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_A8_an_answer_that_shows_nothing_is_no_text(text: str, tmp_path: Path) -> None:
    assert not has_text(Choice(text))
    assert has_text(Choice(f"{text}4{text}"))
    with contextlib.closing(Store(tmp_path / "cache")) as store:
        store.put("0" * 64, {0: Completion(text=text), 1: Completion(text=f"{text}4")})
        assert store.get("0" * 64, 0) is None
        assert store.get("0" * 64, 1) is not None


# ---------------------------------------------------------------- A9: hosts in a model's name

HOSTS = (
    "bedrock/agentcore/arn:aws:bedrock-agentcore:sink.example/x:1:runtime/y",
    "bedrock/arn:aws:bedrock:sink.example/x:1:provisioned-model/y",
    "baseten/sink.example/x",
    "sagemaker/user@sink.example",
    "openai/127.0.0.1/v1",
    "openai/localhost:8080/v1",
    "huggingface/sink:8080/x",
    "bedrock/../../x",
    "bedrock//sink/x",
)


@pytest.mark.parametrize("model", HOSTS)
def test_A9_a_found_profile_names_no_host_in_a_model(model: str, folder: Folder) -> None:
    text = f'version: 1\nname: theirs\ntiers:\n  - {{name: small, model: "{model}"}}\n'
    folder.write("automix.yaml", text)
    ran = folder.run("ask", "q", "--ignore-stdin", "--dry-run")
    assert ran.code == 2
    assert "automix.yaml:4: tiers[0].model: may not carry a host" in ran.err
    assert "if you trust this file, name it" in ran.err


def test_A9_every_model_of_the_price_table_can_be_named_in_a_found_profile() -> None:
    from automix_cli.backends.catalog import _price_table, names_host

    models = json.loads(_price_table())
    assert [model for model in models if names_host(model)] == []
    others = (
        "openrouter/meta-llama/llama-3.3-70b-instruct:free",
        "ollama_chat/qwen2.5:0.5b",
        "openai/gpt-9.1",
    )
    assert [model for model in others if names_host(model)] == []


# ---------------------------------------------------------------- A10, A11: what stays, and what goes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_A10_a_request_to_end_leaves_no_temporary_folder(number: int, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "import asyncio, signal, sys\n"
        f"signal.signal({number}, signal.SIG_DFL)\n"
        "from automix_cli.backends.demo.tiers import DemoBackend\n"
        "async def wait(self, request):\n"
        "    print('waiting', file=sys.__stderr__, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "DemoBackend.complete = wait\n"
        "from automix_cli.cli import main\n"
        "main()\n"
    )
    with subprocess.Popen(
        [COMMAND[0], "-c", code, "ask", "--profile", "demo", "--no-cache", "--ignore-stdin", "q"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(temporary)),
        text=True,
    ) as child:
        assert child.stderr is not None
        assert any("waiting" in line for line in child.stderr)
        assert len(list(temporary.iterdir())) == 1
        child.send_signal(number)
        assert child.wait(PATIENCE) == -number
    assert list(temporary.iterdir()) == []


def test_A11_nothing_is_cleared_without_a_terminal_unless_told_to(folder: Folder) -> None:
    cache = folder.path / "cache"
    with contextlib.closing(Store(cache)) as store:
        store.put("0" * 64, {0: Completion(text="paid for")})
    ran = folder.run("cache", "clear", AUTOMIX_CACHE_DIR=str(cache))
    assert (ran.code, ran.out) == (2, "")
    assert "automix cache clear --yes" in ran.err
    assert survey(cache).entries == 1
    assert folder.run("cache", "clear", "--yes", AUTOMIX_CACHE_DIR=str(cache)).code == 0
    assert survey(cache).entries == 0


# ---------------------------------------------------------------- A4: a cache that fails half-way


def is_one_message(ran: Ran, words: str) -> bool:
    """Whether a run said one thing that went wrong, and no library said anything."""
    lines = ran.err.splitlines()
    messages = [line for line in lines if line.startswith("automix: ")]
    return len(messages) == 1 and words in messages[0] and len(lines) <= 8 and "Traceback" not in ran.err


def slow_reply(call: Call) -> Reply:
    """The default reply after a moment, so that many are under way, with more words than a page holds."""
    time.sleep(0.02)
    return Reply(texts=tuple(f"{'because ' * 700}\n{text}" for text in default_reply(call).texts))


@pytest.mark.parametrize("concurrency", ["1", "32"])
def test_A4_a_cache_disk_that_fills_up_in_a_batch_is_one_message(concurrency: str, world: World) -> None:
    world.server.reply = slow_reply
    with small_disk(world.cache, "512k"):
        ran = world.ask(world.questions(120), "--tier", "small", "-j", concurrency)
    assert ran.code == 1
    assert is_one_message(ran, "no room for the cache"), ran.err


@pytest.mark.parametrize("concurrency", ["1", "32"])
def test_A4_a_corrupted_page_met_in_a_batch_is_one_message(concurrency: str, world: World) -> None:
    world.server.reply = slow_reply
    half, whole = world.questions(60), world.questions(120)
    args = ("--tier", "small", "-j", concurrency, "--force")
    assert world.ask(half, *args).code == 0
    pages = world.cache / "cache.db"
    with pages.open("r+b") as file:
        file.seek(pages.stat().st_size // 3)
        file.write(b"\xff" * (pages.stat().st_size // 2))
    ran = world.ask(whole, *args)
    assert ran.code == 1
    assert is_one_message(ran, "is damaged"), ran.err
    assert len(list(world.cache.glob("cache.db.bad-*[0-9]"))) == 1
    assert world.ask(whole, *args).code == 0


# ---------------------------------------------------------------- A2: bills above the reserve

PRICE = Price(input=1.0, output=2.0)
INFLATED = {
    "reasoning beyond max_tokens": Usage(input_tokens=30, output_tokens=4100, reasoning_tokens=4000, calls=1),
    "an inflated count": Usage(input_tokens=90_000, output_tokens=10, calls=1),
    "five million tokens": Usage(input_tokens=30, output_tokens=5_000_000, calls=1),
}


@dataclass
class Dear:
    """A provider that charges what it likes, after a turn of the loop."""

    usage: Usage
    budget: Budget
    bills: list[float] = field(default_factory=list)
    late: int = 0

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        self.late += self.budget.spent_usd >= self.budget.cap
        await asyncio.sleep(0)
        self.bills += [PRICE.of(self.usage)] * request.n
        verdict = prompts.decision(False) if prompts.is_verification(request.messages) else "4"
        return (Completion(text=verdict, usage=self.usage, flags=("usage_suspect",)),) * request.n

    async def aclose(self) -> None:
        pass


async def verify(cascade: Cascade, question: Question) -> object:
    return await cascade.verify(question, "4", cascade.profile.tiers[0], 4)


JOBS = {"ask": Cascade.answer, "verify": verify, "calibrate and bench": Cascade.collect}


@pytest.mark.parametrize("concurrency", [1, 8, 64])
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("kind", INFLATED)
def test_A2_a_bill_above_its_reserve_is_counted_in_full_and_shuts_the_budget(
    kind: str, job: str, concurrency: int
) -> None:
    async def main() -> tuple[Budget, Dear]:
        budget = Budget(0.05)
        dear = Dear(INFLATED[kind], budget)
        tiers = profile_of_models(["demo/small", "demo/large"])
        cascade = Cascade(tiers, BudgetedBackend(dear, budget, lambda _: PRICE))
        slots = asyncio.Semaphore(concurrency)

        async def one(n: int) -> None:
            async with slots:
                with contextlib.suppress(BudgetError):
                    await JOBS[job](cascade, Question(text=f"question {n}", id=n))

        await asyncio.gather(*(one(n) for n in range(100)))
        return budget, dear

    budget, dear = asyncio.run(main())
    assert budget.spent_usd >= math.fsum(dear.bills) - 1e-9, "the true bill is counted"
    assert dear.late == 0, "nothing is sent once the cap is reached"
    most_a_call = 4 * PRICE.of(INFLATED[kind])  # four votes at most
    assert math.fsum(dear.bills) <= budget.cap + concurrency * most_a_call
    assert budget.reserved_usd < 1e-9


def test_A2_a_bill_above_its_reserve_reserves_more_of_that_endpoint_from_then_on() -> None:
    request = Request(model="m", messages=(Message("user", "q"),), params=(("max_tokens", 100),))
    usage = Usage(input_tokens=10, output_tokens=1000, calls=1)
    inner = ScriptedBackend([Completion(text="4", usage=usage)])
    backend = BudgetedBackend(inner, Budget(1), lambda _: PRICE)
    before = backend.worst(request)
    asyncio.run(backend.complete(request))
    assert backend.worst(request) == pytest.approx(PRICE.of(usage))
    assert backend.worst(request) > before
    assert backend.worst(replace(request, model="other")) == before


@pytest.mark.parametrize(
    ("prompt", "output", "n", "suspect"),
    [(17, 100, 1, False), (17, 101, 1, True), (18, 100, 1, True), (34, 200, 2, False), (34, 201, 2, True)],
)
def test_A2_counts_beyond_what_was_sent_and_allowed_are_doubtful_and_stand(
    prompt: int, output: int, n: int, suspect: bool
) -> None:
    request = Request(model="m", messages=(Message("user", "q"),), params=(("max_tokens", 100),), n=n)
    counts = TokenCounts(prompt=prompt, output=output, total=prompt + output)
    usage, is_suspect = usage_of(counts, request, ["4"] * n)
    assert (usage.input_tokens, usage.output_tokens, is_suspect) == (prompt, output, suspect)
