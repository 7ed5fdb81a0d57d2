"""llama.cpp's own server, its model random numbers that a grammar makes speak, through either client."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from servers import Server, User

pytestmark = pytest.mark.real

VERDICT = """'root ::= "Verification Decision: The AI generated answer is " ("Correct" | "Incorrect") "."'"""
WORD = """'root ::= "yes" | "no"'"""
ENDS = {"Correct.", "Incorrect."}
TIER = """\
  - name: {name}
    model: openai/{name}
    api_base: {url}/v1
    price: {{input: {dollars}, output: {dollars}}}
    backend: {client}
    params: {{max_tokens: 80, extra_body: {{grammar: {grammar}}}}}
"""

Owner = Callable[..., User]


@pytest.fixture(params=["direct", "litellm"])
def owner(request: pytest.FixtureRequest, user: User, llama: dict[str, Server]) -> Owner:
    """Writes the profile of somebody who runs the servers."""

    def profile(*servers: str, grammar: str = VERDICT, signal: str = "votes", votes: int = 4) -> User:
        tiers = "".join(
            TIER.format(
                name=name, url=llama[server].url, client=request.param, dollars=dollars, grammar=grammar
            )
            for name, dollars, server in zip(("small", "large"), (1, 10), servers, strict=True)
        )
        verification = f"verification: {{signal: {signal}, max_votes: {votes}, batch: [{votes}]}}\n"
        user.write(
            "profile.yaml",
            f"version: 1\nname: own\nrouter: {{kind: majority}}\ntiers:\n{tiers}{verification}",
        )
        return user

    return profile


def ends_well(text: str) -> bool:
    return text.startswith("Verification Decision") and text.split()[-1] in ENDS


def first(row: dict[str, Any]) -> dict[str, Any]:
    """The first step of a row's route."""
    step: dict[str, Any] = row["route"][0]
    return step


def test_more_votes_than_the_server_has_slots_are_bought_one_by_one(owner: Owner) -> None:
    row = owner("chat", "chat", votes=4).row("What is 2 + 2?")
    step = first(row)
    assert row["status"] == "ok"
    assert ends_well(step["answer"])
    assert step["votes"]["unparsed"] == 0
    assert step["votes"]["correct"] + step["votes"]["incorrect"] == 4
    assert step["calls"] == 5


def test_the_tokens_of_all_choices_of_one_request_are_billed(owner: Owner) -> None:
    """The server counts those of one."""
    user = owner("chat", "chat", votes=2)
    alone = user.row("--tier", "small", "What is 2 + 2?")["usage"]["output_tokens"]
    row = user.row("What is 2 + 2?")
    step = first(row)
    assert step["votes"]["correct"] + step["votes"]["incorrect"] == 2
    assert "usage_corrected" in step["flags"]
    if row["tier"] == "small":
        assert row["usage"]["output_tokens"] >= 2.5 * alone


def test_the_verdict_is_read_from_log_probabilities(owner: Owner) -> None:
    row = owner("chat", "chat", signal="logprob").row("What is 2 + 2?")
    assert row["status"] == "ok"
    assert 0 < first(row)["confidence"] < 1


def test_agreement_between_samples_is_a_confidence(owner: Owner) -> None:
    row = owner("chat", "chat", signal="consistency", grammar=WORD).row("Is it raining?")
    assert row["answer"] in ("yes", "no")
    assert first(row)["confidence"] is not None


def test_a_context_that_is_too_long_escalates(owner: Owner) -> None:
    user = owner("short", "chat")
    user.write("context.txt", "x" * 1000)
    row = user.row("--context", "context.txt", "What is it?")
    assert (row["status"], row["tier"]) == ("ok", "large")
    assert first(row)["failed"] == "context_length"
    assert row["escalated"]


def test_a_context_that_is_too_long_for_every_tier_is_an_error(owner: Owner) -> None:
    user = owner("short", "chat")
    user.write("context.txt", "x" * 9000)
    row = user.row("--context", "context.txt", "What is it?")
    assert (row["status"], row["error"]["type"]) == ("error", "context_length")


def test_an_answer_stands_where_there_is_no_room_for_its_verification(owner: Owner) -> None:
    step = first(owner("short", "chat").row("What is 2 + 2?"))
    assert ends_well(step["answer"])
    assert step["cost_usd"] > 0
    assert "failed" not in step


@pytest.mark.parametrize("client", ["direct", "litellm"])
def test_routers_read_embeddings_of_the_server(client: str, user: User, llama: dict[str, Server]) -> None:
    draw = random.Random(3)
    lines = []
    for n in range(60):
        hard = n % 2
        question = f"{'Prove' if hard else 'Add'} {draw.randrange(99)} and {draw.randrange(99)}"
        small = int(draw.random() > 0.8) if hard else 1
        tiers = {"small": {"score": small, "cost": 0.001}, "large": {"score": 1, "cost": 0.02}}
        lines.append(json.dumps({"id": n, "question": question, "tiers": tiers}))
    user.write("traces.jsonl", "\n".join(lines))
    user.write(
        "profile.yaml",
        f"version: 1\nname: own\ntiers:\n"
        f"  - {{name: small, model: openai/noise, api_base: '{llama['chat'].url}/v1', backend: {client}}}\n"
        f"  - {{name: large, model: openai/louder, api_base: '{llama['chat'].url}/v1', backend: {client}}}\n"
        f"embedding: {{model: openai/noise, api_base: '{llama['embed'].url}/v1', backend: {client}, "
        "price: {input: 0.1}}\n",
    )
    command = ("calibrate", "traces.jsonl", "--profile", "profile.yaml", "--query-router", "knn")
    ran = user.run(*command, "--embed-model", "openai/noise", "-o", "routed.yaml")
    assert ran.code == 0, ran.err
    written = (user.folder / "routed.yaml").read_text()
    assert "openai/noise" in written
    row = json.loads(user.run("ask", "--profile", "routed.yaml", "Add 3 and 4", "--json").out)
    assert row["status"] == "ok"
    assert "embedding_failed" not in first(row).get("flags", ())
