"""Two ledgers against the provider's own book: what a run spent, and what its answers cost at list price.

The provider is a server on this machine that writes down what it charges. It shares no code with what it
checks: it reads its prices from LiteLLM's table itself, and counts its tokens itself.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from loopback import Call, Loopback, Reply, openai_body, tokens

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.cascade.cascade import Cascade
from automix_cli.records import Answer, Question

CENT = 1e-9  # of a dollar: far finer than the cent that is promised
QUESTIONS = tuple(Question(text=f"riddle {n}, what is it?", id=n) for n in range(6))


def table() -> dict[str, Any]:
    """LiteLLM's prices."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "model_prices_and_context_window_backup.json"
    return json.loads(path.read_text(encoding="utf-8"))


ENTRIES = {model: table()[model] for model in ("gpt-5", "gpt-5-mini")}


def charge(model: str, service: str, prompt: int, cached: int, output: int) -> float:
    """Dollars for tokens of a model, by the service that gave them."""
    entry, suffix = ENTRIES[model], "" if service == "default" else f"_{service}"
    rates = [
        entry[f"{name}{suffix}"]
        for name in ("input_cost_per_token", "cache_read_input_token_cost", "output_cost_per_token")
    ]
    return (prompt - cached) * rates[0] + cached * rates[1] + output * rates[2]


def number_in(call: Call) -> int:
    """The number of the riddle that a call is about."""
    return int(re.findall(r"riddle (\d+)", call.prompt)[-1])


def says(call: Call) -> str:
    """An answer, or a verdict: CORRECT for every other riddle. Every choice of a prompt says the same."""
    n = number_in(call)
    if not call.verifies:
        return f"answer {n} " + "and so on " * n
    side = "Correct" if n % 2 else "Incorrect"
    return "It was compared. " * (n + 1) + f"\nVerification Decision: The AI generated answer is {side}."


def nothing(call: Call) -> None:
    """No refusal."""


def as_asked(call: Call) -> str:
    """The service that a request names."""
    return str(call.params.get("service_tier", "default"))


@dataclass
class Book:
    """A provider's reply function, and its book.

    `refuses` may answer a call with a reply that is not charged. `served` names the service that is given;
    `cached` is the share of prompt tokens that cost less. `choices` bounds the choices a request gets,
    and `mute` says which replies hold no text; they are charged all the same.
    """

    refuses: Callable[[Call], Reply | None] = nothing
    served: Callable[[Call], str] = as_asked
    cached: float = 0.0
    choices: int = 64
    mute: Callable[[Call], bool] = lambda call: False
    total: float = 0.0
    charged: list[str] = field(default_factory=list)

    def __call__(self, call: Call) -> Reply:
        if reply := self.refuses(call):
            return reply
        text = "" if self.mute(call) else says(call)
        texts = (text,) * min(call.n, self.choices)
        prompt, output = len(tokens(call.prompt)) + 3, sum(len(tokens(t)) + 1 for t in texts)
        cached = int(self.cached * prompt)
        service = self.served(call)
        self.total += charge(call.model, service, prompt, cached, output)
        self.charged.append(service)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        body = openai_body(call, Reply(texts=texts, usage=usage)) | {"service_tier": service}
        body["choices"] = body["choices"][: len(texts)]  # a text alone is that of all choices
        return Reply(body=json.dumps(body).encode())


@pytest.fixture(params=["direct", "litellm"])
def backend(request: pytest.FixtureRequest) -> str:
    """The client."""
    return str(request.param)


@dataclass
class Payer:
    """Somebody who runs questions against a book, with a cache of their own."""

    server: Loopback
    book: Book
    backend: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def use_cache(self, name: str) -> None:
        """Use another cache folder."""
        self.monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(self.folder / name))

    def run(
        self,
        questions: Sequence[Question] = QUESTIONS,
        *,
        service: str | None = None,
        votes: int = 4,
        batch: Sequence[int] = (1, 3),
    ) -> list[Answer]:
        """The answers, one after the other; what they spent is what the book charged meanwhile."""
        before = self.book.total
        path = self.folder / "profile.yaml"
        more = f'api_base: "{self.server.url}", backend: {self.backend}, params: {{max_tokens: 200}}'
        more += f", service_tier: {service}" if service else ""
        path.write_text(
            f"version: 1\ntiers:\n- {{name: small, model: openai/gpt-5-mini, {more}}}\n"
            f"- {{name: large, model: openai/gpt-5, {more}}}\n"
            "router: {kind: majority}\n"
            f"verification: {{max_votes: {votes}, batch: {list(batch)}, temperature: null}}\n"
        )
        options = CallOptions(profile=str(path))

        async def job(cascade: Cascade) -> list[Answer]:
            return [await cascade.answer(question) for question in questions]

        answers = Runtime(choose_profile(options), options).run(job)
        spent = sum(answer.spent_usd or 0.0 for answer in answers)
        assert spent == pytest.approx(self.book.total - before, abs=CENT)
        return answers


@pytest.fixture
def payer_of(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a payer for a book."""
    servers: list[Loopback] = []

    def open_payer(book: Book) -> Payer:
        server = Loopback(book)
        servers.append(server)
        server.__enter__()
        payer = Payer(server, book, backend, tmp_path, monkeypatch)
        payer.use_cache("cache")
        return payer

    yield open_payer
    for server in servers:
        server.__exit__(None, None, None)


def costs(answers: Sequence[Answer]) -> list[float | None]:
    """The list prices of the rows."""
    assert all(answer.cost_usd for answer in answers)
    return [answer.cost_usd for answer in answers]


def flaky(call: Call) -> Reply | None:
    """Trouble that is not charged, at the first attempt."""
    status = (429, 503, 529)[number_in(call) % 3]
    return Reply(status=status, headers={"retry-after-ms": "1"}) if call.attempt == 0 else None


def full_flex(call: Call) -> Reply | None:
    """Flex without room for every other riddle."""
    if call.params.get("service_tier") != "flex" or number_in(call) % 2:
        return None
    error = {"message": "Resource unavailable", "type": "error", "code": "resource_unavailable"}
    return Reply(status=429, body=json.dumps({"error": error}).encode())


BOOKS: dict[str, tuple[Callable[[], Book], str | None]] = {
    "plain": (Book, None),
    "cached input": (lambda: Book(cached=0.75), None),
    "one choice a request": (lambda: Book(choices=1), None),
    "two choices a request": (lambda: Book(choices=2), None),
    "retries": (lambda: Book(refuses=flaky), None),
    "mute votes": (lambda: Book(mute=lambda call: call.verifies and number_in(call) == 3), None),
    "mute answers": (
        lambda: Book(mute=lambda call: call.model == "gpt-5-mini" and number_in(call) == 2),
        None,
    ),
    "standard": (Book, "standard"),
    "flex": (Book, "flex"),
    "flex without room": (lambda: Book(refuses=full_flex), "flex"),
    "flex served as standard": (lambda: Book(served=lambda call: "default"), "flex"),
    "priority": (Book, "priority"),
    "priority served as standard": (lambda: Book(served=lambda call: "default"), "priority"),
}


@pytest.mark.parametrize("kind", BOOKS)
def test_what_was_spent_is_what_the_provider_charged_and_the_list_price_is_the_same_cold_and_warm(
    kind: str, payer_of: Callable[[Book], Payer]
) -> None:
    make, service = BOOKS[kind]
    payer = payer_of(make())
    cold = payer.run(service=service)
    assert {answer.status for answer in cold} == {"ok"}
    assert {answer.tier for answer in cold} == {"small", "large"}
    warm = payer.run(service=service)
    assert sum(answer.spent_usd or 0.0 for answer in warm) == 0
    assert costs(warm) == costs(cold)
    if kind in ("plain", "cached input", "standard", "flex", "priority"):
        assert sum(a.cost_usd or 0.0 for a in cold) == pytest.approx(payer.book.total, abs=CENT)
    served = {"standard": {"default"}, "flex": {"flex"}, "priority": {"priority"}}
    assert set(payer.book.charged) == served.get(kind, set(payer.book.charged))


@pytest.mark.parametrize("choices", [64, 1])
def test_votes_that_were_bought_before_change_no_list_price(
    choices: int, payer_of: Callable[[Book], Payer]
) -> None:
    payer = payer_of(Book(choices=choices))
    payer.run(votes=3, batch=[1])  # one by one, which does not show what the server does with several
    mixed = payer.run(votes=5, batch=[5])
    payer.use_cache("another")
    assert costs(mixed) == costs(payer.run(votes=5, batch=[5]))


def test_a_run_that_goes_on_pays_for_the_rest(payer_of: Callable[[Book], Payer]) -> None:
    payer = payer_of(Book())
    first = payer.run(QUESTIONS[:3])
    both = payer.run(QUESTIONS)
    assert [answer.spent_usd for answer in both[:3]] == [0.0] * 3
    assert costs(both[:3]) == costs(first)
    assert all(answer.spent_usd for answer in both[3:])
