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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from loopback import Call, Loopback, Reply, default_reply
from msgspec.structs import replace
from nursery import World, rows
from shell import COMMAND, PATIENCE, Ran, environment, warm_command
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
from automix_cli.records import Completion, Message, Question
from automix_cli.usage import Price, Usage

TIERS = "tiers: [{name: small, model: demo/small}, {name: large, model: demo/large}]"


class Folder:
    """A folder to stand in, where a profile may be found."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        return path

    def run(self, *args: str | Path, **env: str) -> Ran:
        done = subprocess.run(
            [*warm_command(), *map(str, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.path,
            env={**os.environ, **env},
            timeout=PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


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
        ("null", 1, 1),  # the prior buys no vote here
        ("{kind: majority}", 3, 6),  # two of four votes settle it
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


@pytest.mark.parametrize(
    ("kind", "more"), [("pomdp+query", ", prior: {}, observations: {}, trust: 1"), ("knn", "")]
)
def test_A1_a_dry_run_refuses_the_routers_that_ask_refuses(kind: str, more: str, folder: Folder) -> None:
    write_router(folder, f"{{kind: {kind}, cost_weight: 1{more}}}")
    runs = [folder.run("ask", "q", "--ignore-stdin", *way) for way in ((), ("--dry-run",))]
    assert [ran.code for ran in runs] == [2, 2]
    assert f"a router of kind {kind} needs the key query" in runs[1].err
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
    policies = ("--policies", "threshold,pomdp,random-mix,oracle")
    ran = folder.run("bench", "traces.jsonl", *policies, "-o", "out", "--html", "--plot")
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


# ---------------------------------------------------------------- A12: what real servers say


def error_of(message: str, **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


PER_MINUTE = [{"quotaId": "GenerateRequestsPerMinutePerProject"}, {"retryDelay": "26s"}]
WORDINGS: dict[str, tuple[int, bytes, str]] = {
    "llama.cpp": (
        400,
        error_of(
            "request (2947 tokens) exceeds the available context size (2048 tokens), try increasing it",
            type="exceed_context_size_error",
        ),
        "context_length",
    ),
    "LiteLLM's proxy": (400, error_of("litellm.ContextWindowExceededError: no"), "context_length"),
    "Anthropic": (400, error_of("input length and `max_tokens` exceed context limit"), "context_length"),
    "TGI": (400, error_of("`inputs` tokens + `max_new_tokens` must be <= 4096"), "context_length"),
    "xAI": (400, error_of("This model's maximum prompt length is 131072"), "context_length"),
    "Cerebras": (400, error_of("Current length is 9001 while limit is 8192"), "context_length"),
    "vLLM": (
        400,
        error_of("3000 is longer than the maximum model length of 2048"),
        "context_length",
    ),
    "watsonx": (400, error_of("exceeds the total tokens limit 4096"), "context_length"),
    "Databricks": (400, error_of("Input too long: 5000 input tokens, limit is 4096"), "context_length"),
    "context with 500": (500, error_of("no", code="context_length_exceeded"), "context_length"),
    "context with 200": (200, error_of("no", code="context_length_exceeded"), "context_length"),
    "Gemini, a minute": (429, error_of("exceeded your current quota", details=PER_MINUTE), "rate_limit"),
    "Gemini, a minute, in words": (
        429,
        error_of("You exceeded your current quota. Please retry in 20.04s."),
        "rate_limit",
    ),
    "Gemini, nothing": (429, error_of("exceeded your current quota, limit: 0. Please retry in 7s"), "quota"),
    "Gemini, a day": (
        429,
        error_of("exceeded your current quota", details=[{"quotaId": "RequestsPerDay"}, PER_MINUTE[1]]),
        "quota",
    ),
    "Gemini, a key": (400, error_of("API key not valid.", details=[{"reason": "API_KEY_INVALID"}]), "auth"),
    "xAI, a key": (400, error_of("Incorrect API key provided"), "auth"),
    "a budget": (422, error_of("Budget has been exceeded!", type="budget_exceeded"), "quota"),
    "a budget with 429": (429, error_of("Budget has been exceeded!", type="budget_exceeded"), "quota"),
    "a model": (400, error_of("Invalid model name passed in model=tiny"), "model"),
}


@pytest.mark.parametrize("client", ["direct", "litellm"])
def test_A12_every_wording_that_was_met_is_understood_over_the_wire(client: str) -> None:
    from automix_cli.backends.litellm import LiteLLMBackend
    from automix_cli.backends.openai_http import DirectBackend
    from automix_cli.backends.retry import Retrier
    from automix_cli.errors import BackendError

    async def main(server: Loopback) -> dict[str, tuple[str, float | None, bool]]:
        found = {}
        for name, (status, body, _) in WORDINGS.items():
            retrier = Retrier(attempts=1)
            backend = (DirectBackend if client == "direct" else LiteLLMBackend)(retrier)
            server.reply = lambda call, s=status, b=body: Reply(status=s, body=b)  # type: ignore[misc]
            request = Request(model="openai/m", messages=(Message("user", name),), api_base=server.url)
            try:
                await backend.complete(request)
            except BackendError as error:
                found[name] = (error.kind, error.retry_after, error.fatal)
            await backend.aclose()
        return found

    with Loopback() as server:
        found = asyncio.run(main(server))
        assert len(server.calls) == len(WORDINGS)
    assert {name: kind for name, (kind, _, _) in found.items()} == {n: w[2] for n, w in WORDINGS.items()}
    assert {name: wait for name, (_, wait, _) in found.items() if wait} == {
        "Gemini, a minute": 26.0,
        "Gemini, a minute, in words": 20.04,
    }
    assert all(fatal == (kind in ("auth", "quota", "model")) for kind, _, fatal in found.values())


ILL = "What is q 2?"
THOUGHTS = {"prompt_tokens": 40, "completion_tokens": 64, "total_tokens": 104}
NO_ANSWERS = {
    "context_length": Reply(status=400, body=WORDINGS["llama.cpp"][1]),
    "content_filter": Reply(status=403, body=error_of("your input was flagged by moderation")),
    "no_text": Reply(texts=("",), finish_reason="length", usage=THOUGHTS),
}


def said(call: Call) -> str:
    return prompts.decision(True) if call.verifies else "fine"


@pytest.mark.parametrize("client", ["direct", "litellm"])
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_A12_a_tier_without_an_answer_escalates_and_what_it_cost_is_paid_once(
    kind: str, client: str, world: World
) -> None:
    world.client = client
    world.write_profile()
    world.server.reply = lambda call: (
        NO_ANSWERS[kind] if ILL in call.prompt and call.model == "tiny" else said(call)
    )
    assert world.ask(world.questions(4)).code == 0
    assert len(world.server.calls) == 8, "three answers with their votes, one refusal, one answer more"
    cold = rows(world.out)
    assert [row["answer"] for row in cold] == ["fine"] * 4
    ill = cold[2]
    assert (ill["tier"], ill["route"][0]["failed"], ill["route"][0]["action"]) == ("large", kind, "escalate")
    cost = (40 * 1 + 64 * 2) / 1e6 if kind == "no_text" else 0.0
    assert ill["route"][0]["cost_usd"] == pytest.approx(cost)
    assert ill["spent_usd"] == pytest.approx(ill["cost_usd"])
    assert world.ask(world.questions(4), "--force").code == 0
    assert len(world.server.calls) == 8, "neither a reply without text nor a refusal is asked for again"
    assert [(r["answer"], r["cost_usd"]) for r in rows(world.out)] == [
        (r["answer"], r["cost_usd"]) for r in cold
    ]


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_A12_a_vote_without_an_answer_ends_the_verification(kind: str, world: World) -> None:
    world.server.reply = lambda call: NO_ANSWERS[kind] if ILL in call.prompt and call.verifies else said(call)
    first = world.ask(world.questions(4))
    assert first.code == 0, first.err
    cold = rows(world.out)
    step = cold[2]["route"][0]
    assert (step["answer"], step["votes"]["unparsed"], step["action"]) == ("fine", 2, "escalate")
    assert kind in step["flags"]
    count = len(world.server.calls)
    assert count == 9, "four answers, four rounds of votes, and the large tier's answer"
    if kind == "no_text":
        assert world.ask(world.questions(4), "--offline", "--force").code == 0
        warm = rows(world.out)
        assert len(world.server.calls) == count
        assert [r["cost_usd"] for r in warm] == [r["cost_usd"] for r in cold]
        assert sum(r["spent_usd"] for r in warm) == 0


def test_A12_what_is_no_answer_is_an_outcome_where_every_tier_is_asked(world: World) -> None:
    by_question = {f"What is q {n}?": reply for n, reply in enumerate(NO_ANSWERS.values())}

    def reply(call: Call) -> Reply | str:
        ill = next((r for words, r in by_question.items() if words in call.prompt), None)
        return ill if ill is not None and call.model == "tiny" else said(call)

    world.server.reply = reply
    path = world.folder / "labelled.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": n, "question": f"What is q {n}?", "expected": "fine"}) + "\n" for n in range(40)
        )
    )
    traces = world.folder / "traces.jsonl"
    ran = world.run("calibrate", path, "-o", world.folder / "fit.yaml", "--traces", traces)
    assert ran.code in (0, 5), ran.err
    cells = {row["id"]: row["tiers"]["small"] for row in rows(traces)}
    assert [cells[n]["failed"] for n in range(3)] == list(NO_ANSWERS)
    assert [cells[n]["score"] for n in range(4)] == [0.0, 0.0, 0.0, 1.0]


STOPS = {
    "key": (Reply(status=400, body=WORDINGS["xAI, a key"][1]), "auth", 2, "export CANARY_KEY="),
    "402": (Reply(status=402), "quota", 1, "run the same command again"),
    "quota": (Reply(status=429, body=error_of("no", code="insufficient_quota")), "quota", 1, "add credit"),
    "budget 422": (Reply(status=422, body=WORDINGS["a budget"][1]), "quota", 1, "raise the limit"),
    "budget 429": (Reply(status=429, body=WORDINGS["a budget"][1]), "quota", 1, "raise the limit"),
    "budget 400": (Reply(status=400, body=WORDINGS["a budget"][1]), "quota", 1, "raise the limit"),
    "model": (Reply(status=400, body=WORDINGS["a model"][1]), "model", 2, "automix profile show"),
}


@pytest.mark.parametrize(
    ("name", "client"), [*((name, "direct") for name in STOPS), *((n, "litellm") for n in ("key", "model"))]
)
def test_A12_what_would_refuse_every_row_costs_one_request_and_can_be_resumed(
    name: str, client: str, world: World
) -> None:
    reply, kind, code, advice = STOPS[name]
    world.client = client
    world.write_profile(concurrency=8)
    world.server.reply = lambda call: reply
    questions = world.questions(30)
    ran = world.ask(questions, "--unordered")
    assert ran.code == code, ran.err
    assert len(world.server.calls) == 1
    assert advice in ran.err
    assert ran.err.count(advice) == 1
    assert "go on with: " in ran.err
    found = rows(world.out)
    assert {row["error"]["type"] for row in found} == {kind}
    assert sum(row["error"]["attempts"] for row in found) == 1
    assert f"1 error, {len(found) - 1} not asked" in ran.err
    assert f"{30 - len(found)} rows not started" in ran.err
    world.server.reply = said
    assert world.ask(questions, "--resume").code == 0
    assert [row["answer"] for row in rows(world.out)] == ["fine"] * 30


def test_A12_each_kind_of_trouble_says_once_what_mends_it(world: World) -> None:
    world.server.reply = lambda call: NO_ANSWERS["no_text"] if call.model == "tiny" else said(call)
    ran = world.ask(world.questions(20))
    assert ran.code == 0
    assert ran.err.count("max_tokens") == 1
    assert "no_text: raise params: {max_tokens: …} of this tier" in ran.err


# ---------------------------------------------------------------- A13: an endpoint that comes back late


@pytest.mark.parametrize("client", ["direct", "litellm"])
def test_A13_an_endpoint_that_was_given_up_recovers_in_a_process_that_goes_on(client: str) -> None:
    from automix_cli.backends.litellm import LiteLLMBackend
    from automix_cli.backends.openai_http import DirectBackend
    from automix_cli.backends.retry import RECOVERY, Retrier
    from automix_cli.errors import BackendError, Unreachable

    now = [0.0]

    async def pass_time(seconds: float) -> None:
        now[0] += seconds

    async def main(server: Loopback) -> None:
        retrier = Retrier(clock=lambda: now[0], sleep=pass_time)
        backend = (DirectBackend if client == "direct" else LiteLLMBackend)(retrier)
        request = Request(model="openai/m", messages=(Message("user", "hello"),), api_base=server.url)
        assert (await backend.complete(request))[0].text == "fine"
        server.faults = lambda call: Reply(fault="drop")
        for _ in range(20):
            with contextlib.suppress(BackendError):
                await backend.complete(request)
        with pytest.raises(Unreachable, match="given up"):
            await backend.complete(request)
        down = len(server.ledger)
        for _ in range(5):
            with pytest.raises(Unreachable):
                await backend.complete(request)
        assert len(server.ledger) == down, "nothing is sent while it counts as dead"
        server.faults = None
        now[0] += RECOVERY
        for _ in range(3):
            assert (await backend.complete(request))[0].text == "fine"
        await backend.aclose()

    with Loopback(said) as server:
        asyncio.run(main(server))
