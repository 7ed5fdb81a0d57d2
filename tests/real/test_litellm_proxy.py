"""LiteLLM's proxy in front of models: what its users meet, through either client."""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from servers import Server, User

pytestmark = pytest.mark.real

WAYS = [f"{client} {prefix}" for client in ("direct", "litellm") for prefix in ("openai", "litellm_proxy")]
SAYS_RIGHT = "Verification Decision: The AI generated answer is Correct."
PRICES = {"small": "{input: 1, output: 2}", "large": "{input: 10, output: 20}"}

Team = Callable[..., User]


@pytest.fixture(params=WAYS)
def team(request: pytest.FixtureRequest, user: User, proxy: Server) -> Team:
    """Writes the profile of somebody who has a key for the proxy."""
    client, prefix = request.param.split()

    def profile(*models: str, key: str = "sk-good", votes: int = 4) -> User:
        tiers = "".join(
            f"  - {{name: {name}, model: {prefix}/{model}, api_base: '{proxy.url}/v1', "
            f"api_key_env: TEAM_KEY, price: {PRICES[name]}, backend: {client}}}\n"
            for name, model in zip(PRICES, models, strict=False)
        )
        user.write(
            "profile.yaml",
            f"version: 1\nname: team\nrouter: {{kind: majority}}\ntiers:\n{tiers}"
            f"verification: {{max_votes: {votes}, batch: [{votes}]}}\n"
            "limits: {concurrency: 1, attempts: 2}\n",
        )
        user.env["TEAM_KEY"] = key
        return user

    return profile


def questions(user: User, count: int) -> str:
    lines = (json.dumps({"id": n, "question": f"What is {n}?"}) for n in range(count))
    return user.write("questions.jsonl", "\n".join(lines)).name


def test_an_answer_is_verified_by_votes_of_one_request(team: Team, proxy: Server) -> None:
    user, before = team("right", "sure"), proxy.log.requests
    row = user.row("What is 2 + 2?")
    assert (row["status"], row["answer"], row["tier"]) == ("ok", SAYS_RIGHT, "small")
    assert row["route"][0]["votes"] == {"correct": 4, "incorrect": 0, "unparsed": 0}
    assert proxy.log.requests - before == 2


def test_an_answer_that_its_votes_reject_escalates(team: Team) -> None:
    row = team("wrong", "sure").row("What is 2 + 2?")
    assert (row["tier"], row["answer"], row["escalated"]) == ("large", "It is 4.", True)
    assert row["route"][0]["votes"] == {"correct": 0, "incorrect": 4, "unparsed": 0}


def test_usage_and_cost_are_what_the_proxy_counts(team: Team) -> None:
    row = team("right", "sure").row("--tier", "large", "What is 2 + 2?")
    assert (row["usage"]["input_tokens"], row["usage"]["output_tokens"]) == (10, 20)
    assert row["cost_usd"] == row["spent_usd"] == pytest.approx((10 * 10 + 20 * 20) / 1e6)


def test_a_batch_of_fifty_rows_is_bought_once(team: Team, proxy: Server) -> None:
    user, before = team("right", "sure", votes=2), proxy.log.requests
    ran = user.ask("-i", questions(user, 50), "-j", "8")
    assert (ran.code, len(ran.rows)) == (0, 50), ran.err
    assert {(row["status"], row["answer"]) for row in ran.rows} == {("ok", SAYS_RIGHT)}
    assert proxy.log.requests - before == 100
    again = user.ask("-i", questions(user, 50))
    assert proxy.log.requests - before == 100
    assert [row["answer"] for row in again.rows] == [row["answer"] for row in ran.rows]
    assert sum(row["spent_usd"] for row in again.rows) == 0


class Refusal(NamedTuple):
    """A model and a key with which a run cannot go on, the type of its error and the exit code."""

    model: str
    key: str
    kind: str
    code: int


FINAL = {
    "unknown model": Refusal("nobody", "sk-good", "model", 2),
    "bad key": Refusal("right", "sk-bad", "auth", 2),
    "unknown key without a database": Refusal("right", "sk-undefined", "auth", 2),
    "used-up budget": Refusal("right", "sk-poor", "quota", 1),
}


@pytest.mark.parametrize("name", FINAL)
def test_what_no_request_can_mend_stops_the_run_after_one(name: str, team: Team, proxy: Server) -> None:
    refusal = FINAL[name]
    user, before = team(refusal.model, "sure", key=refusal.key), proxy.log.requests
    ran = user.ask("-i", questions(user, 5))
    assert proxy.log.requests - before == 1
    assert ran.code == refusal.code
    assert [row["error"]["type"] for row in ran.rows if row["status"] == "error"] == [refusal.kind], ran.err
    assert "stopped:" in ran.err
    assert refusal.key not in ran.out + ran.err


def test_a_prompt_that_is_too_long_escalates(team: Team) -> None:
    row = team("narrow", "sure").row("What is 2 + 2?")
    assert (row["status"], row["tier"], row["answer"]) == ("ok", "large", "It is 4.")
    assert row["route"][0]["failed"] == "context_length"


def test_a_prompt_that_is_too_long_for_every_tier_is_an_error_of_its_row(team: Team, proxy: Server) -> None:
    user, before = team("narrow"), proxy.log.requests
    ran = user.ask("-i", questions(user, 3))
    assert ran.code == 3
    assert [row["error"]["type"] for row in ran.rows] == ["context_length"] * 3
    assert proxy.log.requests - before == 3


def test_a_busy_model_is_asked_as_often_as_the_profile_allows(team: Team, proxy: Server) -> None:
    user, before = team("busy"), proxy.log.requests
    row = user.row("What is 2 + 2?")
    assert (row["error"]["type"], row["error"]["attempts"]) == ("rate_limit", 2)
    assert proxy.log.requests - before == 2


@pytest.mark.parametrize("client", ["direct", "litellm"])
def test_address_and_key_come_from_the_variables_of_the_proxy(client: str, user: User, proxy: Server) -> None:
    user.write(
        "profile.yaml",
        f"version: 1\nname: team\ntiers: [{{name: only, model: litellm_proxy/right, backend: {client}, "
        "price: {input: 1, output: 2}}]\n",
    )
    row = user.row("2 + 2?", LITELLM_PROXY_API_BASE=f"{proxy.url}", LITELLM_PROXY_API_KEY="sk-good")
    assert row["answer"] == SAYS_RIGHT
