"""Several providers at one address: OpenAI's protocol, and through LiteLLM Anthropic's and Gemini's."""

import pytest
from servers import Server, User

pytestmark = pytest.mark.real

MODELS = {
    "openai/gpt-5-nano": "/v1",
    "anthropic/claude-haiku-4-5": "",
    "gemini/gemini-2.5-flash": "/v1beta",
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, user: User, mock: Server) -> str:
    """A model on the mock, below one of OpenAI's protocol."""
    model = str(request.param)
    user.write(
        "profile.yaml",
        "version: 1\nname: mocks\ntiers:\n"
        f"  - {{name: small, model: {model}, api_base: '{mock.url}{MODELS[model]}', "
        "price: {input: 1, output: 2}}\n"
        f"  - {{name: large, model: openai/gpt-5, api_base: '{mock.url}/v1', "
        "price: {input: 10, output: 20}}\n"
        "router: {kind: majority}\n"
        "verification: {max_votes: 2, batch: [2]}\nlimits: {attempts: 2}\n",
    )
    return model


def test_an_answer_its_votes_and_its_usage_are_read(model: str, user: User) -> None:
    row = user.row("What is 2 + 2?")
    assert (row["answer"], row["tier"], row["escalated"]) == ("It is 4.", "large", True)
    assert row["route"][0]["votes"] == {"correct": 0, "incorrect": 2, "unparsed": 0}
    alone = user.row("--tier", "small", "What is 2 + 2?")
    assert (alone["usage"]["input_tokens"], alone["usage"]["output_tokens"]) == (11, 5)
    assert alone["cost_usd"] == pytest.approx((11 + 2 * 5) / 1e6)


def test_a_prompt_that_is_too_long_is_understood(model: str, user: User) -> None:
    row = user.row("What is everything at once?")
    assert row["route"][0]["failed"] == "context_length"
    assert row["error"]["type"] == "context_length"


def test_a_rate_limit_is_understood(model: str, user: User) -> None:
    row = user.row("--tier", "small", "How often is too often?")
    assert (row["error"]["type"], row["error"]["attempts"]) == ("rate_limit", 2)
