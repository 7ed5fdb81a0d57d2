"""What providers say when they refuse: status and body as they were met or documented, class and wait."""

import json
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from automix_cli.backends.answers import json_object
from automix_cli.backends.refusals import error_class, status_error
from automix_cli.backends.waits import duration, wait_in
from automix_cli.backends.wordings import WORDINGS, meaning_of, words_of
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    Unauthorised,
    UnknownModel,
)


class Case(NamedTuple):
    """A refusal as a server sends it; a text stands for an error in OpenAI's form."""

    status: int
    body: Any
    kind: type[BackendError]
    wait: float | None = None
    prompt: str = ""
    hint: str = ""


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def gemini(quota: str, message: str = "", delay: str = "26s") -> list[dict[str, Any]]:
    """A limit of Gemini's, in its OpenAI-compatible form: a list."""
    text = f"You exceeded your current quota, please check your plan and billing details. {message}"
    violation = {"quotaMetric": "generate_content_free_tier_requests", "quotaId": quota, "quotaValue": "10"}
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return [error(text, code=429, status="RESOURCE_EXHAUSTED", details=details)]


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"

CONTEXT = {
    "llama.cpp": error(
        "request (2947 tokens) exceeds the available context size (2048 tokens), try increasing it",
        type="exceed_context_size_error",
    ),
    "llama.cpp, of old": {
        "error": {"message": "the request exceeds the available context size", "code": 400}
    },
    "Groq": "Please reduce the length of the messages or completion.",
    "a context length": "Your request is above the context length of this deployment",
    "a maximum": "the input exceeds the maximum tokens",
    "LiteLLM proxy": "litellm.ContextWindowExceededError: litellm.BadRequestError: no room",
    "OpenAI": error(
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001.",
        code="context_length_exceeded",
    ),
    "OpenAI, of late": "Your input exceeds the context window of this model. Please adjust your input.",
    "Anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "Anthropic, with output": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 204798",
    "Bedrock": {"message": "Input is too long for requested model."},
    "Gemini": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "TGI": {
        "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
        "error_type": "validation",
    },
    "xAI": {
        "code": "invalid-argument",
        "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    },
    "Cerebras": error(
        "Please reduce the length of the messages or completion. Current length is 9001 while limit is 8192"
    ),
    "vLLM": "The decoder prompt (length 3000) is longer than the maximum model length of 2048.",
    "SGLang": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "watsonx": {"errors": [{"message": "5000 input tokens, above the total tokens limit of 4096"}]},
    "Databricks": {"message": "Input too long: 5000 input tokens, limit is 4096"},
    "vLLM, of late": "Input of 5000 tokens exceeds max_model_len of 4096",
    "vLLM, max_tokens beside it": "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's "
    "maximum context length is 4096 tokens and your request has 2000 input tokens",
    "tokens and a limit": "Prompt tokens (9000) exceed limit (8192)",
    "tokens that are supported": "This model supports at most 8192 input tokens, got 9000",
    "a code in one word": error("no room", code="ContextLengthExceeded"),
    "a code with hyphens": error("no room", code="context-length-exceeded"),
    "OpenAI behind a proxy": "litellm.APIError: code: 400 - {'error': {'message': 'prompt is too long'}}",
    "Mistral": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    "Cohere": {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"},
    "GitHub": error("Request body too large for gpt-4o. Max size: 8000 tokens.", code="tokens_limit_reached"),
    "LM Studio": {"error": "Trying to keep the first 5000 tokens when context the overflows."},
    "OpenRouter": error(
        "Provider returned error",
        code=400,
        metadata={"raw": '{"error":{"message":"This endpoint\'s maximum context length is 131072 tokens"}}'},
    ),
}

CASES = {
    **{name: Case(400, body, ContextTooLong) for name, body in CONTEXT.items()},
    "a body too large for a gateway": Case(413, "<html>Request Entity Too Large</html>", ContextTooLong),
    "Groq, above what a minute allows": Case(
        413,
        "Request too large for model `llama-3` in organization `org_1` on tokens per minute (TPM): "
        "Limit 6000, Requested 8000, please reduce your message size and try again.",
        ContextTooLong,
    ),
    "OpenAI, above what a minute allows": Case(
        429,
        error(
            "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, "
            "Requested 40000.",
            code="rate_limit_exceeded",
        ),
        ContextTooLong,
    ),
    # rates
    "Gemini, a minute": Case(429, gemini(PER_MINUTE), RateLimited, 26.0),
    "Gemini, a minute, in words": Case(
        429,
        "You exceeded your current quota. * Quota exceeded for metric: requests, limit: 10. "
        "Please retry in 20.04s.",
        RateLimited,
        20.04,
    ),
    "OpenAI, a rate": Case(
        429,
        error(
            "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. "
            "Please try again in 1m12.5s.",
            code="rate_limit_exceeded",
        ),
        RateLimited,
        72.5,
    ),
    "Azure, a rate": Case(
        429, "Requests have exceeded the rate limit. Please retry after 30 seconds.", RateLimited, 30.0
    ),
    "Groq, a rate": Case(429, "Rate limit reached. Please try again in 350ms.", RateLimited, 0.35),
    "Bedrock, throttled": Case(
        429, {"message": "Too many tokens, please wait before trying again."}, RateLimited
    ),
    "OpenRouter, a rate behind it": Case(
        429,
        error("Provider returned error", code=429, metadata={"raw": json.dumps(gemini(PER_MINUTE))}),
        RateLimited,
        26.0,
    ),
    "a rate with status 403": Case(403, "API rate limit exceeded", RateLimited),
    "a model being loaded": Case(
        503, {"error": "Model gpt2 is currently loading", "estimated_time": 20.5}, BadResponse, 20.5
    ),
    # quotas and budgets
    "Gemini, a day": Case(429, gemini(PER_DAY), QuotaExhausted),
    "Gemini, nothing at all": Case(
        429,
        gemini(PER_MINUTE, "* Quota exceeded for metric: requests, limit: 0, model: x. Please retry in 7s."),
        QuotaExhausted,
    ),
    "OpenAI, a quota": Case(
        429,
        error("You exceeded your current quota, please check your plan", code="insufficient_quota"),
        QuotaExhausted,
    ),
    "LiteLLM proxy, a budget": Case(
        422,
        error("Budget has been exceeded! Current cost: 0.1, Max budget: 0.05", type="budget_exceeded"),
        QuotaExhausted,
    ),
    "LiteLLM proxy, a budget with 429": Case(
        429,
        error("Budget has been exceeded! Current cost: 0.1", type="budget_exceeded", code="429"),
        QuotaExhausted,
    ),
    "LiteLLM proxy, a budget with 400": Case(
        400, error("ExceededBudget: User over budget. Spend: 0.2", type="budget_exceeded"), QuotaExhausted
    ),
    "Anthropic, no credit": Case(400, "Your credit balance is too low to access the API", QuotaExhausted),
    "OpenRouter, no credit": Case(
        402, "This request requires more credits, or fewer max_tokens.", QuotaExhausted
    ),
    "OpenRouter, free of charge": Case(
        429, "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000", QuotaExhausted
    ),
    "DeepSeek, no balance": Case(402, error("Insufficient Balance"), QuotaExhausted),
    "xAI, no credit": Case(
        403,
        {"error": "Your team has either used all available credits or reached its monthly spending limit."},
        QuotaExhausted,
    ),
    "Cohere, a trial": Case(
        429,
        {"message": "You are using a Trial key, which is limited to 1000 API calls / month."},
        QuotaExhausted,
    ),
    "Hugging Face, no credit": Case(
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers."},
        QuotaExhausted,
    ),
    "Fireworks, a limit": Case(
        412,
        {"error": "Account is suspended, possibly due to reaching the monthly spending limit"},
        QuotaExhausted,
    ),
    "LiteLLM proxy, a budget of a user": Case(
        422, error("Crossed budget", type="BudgetExceededError"), QuotaExhausted
    ),
    "LiteLLM proxy, a budget in words alone": Case(422, "Crossed budget for this team", QuotaExhausted),
    "LiteLLM proxy, a budget with 500": Case(500, "litellm.BudgetExceededError: over", QuotaExhausted),
    "OpenRouter, a key's own limit": Case(
        403,
        "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
        QuotaExhausted,
        hint="limit of this key",
    ),
    "a burst that may not be": Case(429, "limit: 0/min burst, try again in 2s", RateLimited, 2.0),
    "402 without a word": Case(402, "", QuotaExhausted),
    # keys
    "Gemini, a key": Case(
        400,
        [
            error(
                "API key not valid. Please pass a valid API key.",
                status="INVALID_ARGUMENT",
                details=[{"reason": "API_KEY_INVALID"}],
            )
        ],
        Unauthorised,
    ),
    "LiteLLM's proxy without a database, a key": Case(
        400,
        error("No connected db.", type="no_db_connection", param=None, code="400"),
        Unauthorised,
    ),
    "xAI, a key": Case(400, {"error": "Incorrect API key provided: xa***."}, Unauthorised),
    "LiteLLM proxy, a key": Case(
        401,
        error("Authentication Error, Invalid proxy server token passed.", type="token_not_found_in_db"),
        Unauthorised,
    ),
    "LiteLLM proxy, an unknown key with 400": Case(
        400, error("Authentication Error", type="auth_error", code="400"), Unauthorised
    ),
    "LiteLLM proxy, an unknown key in words": Case(
        400, "Authentication Error, Invalid proxy server token passed.", Unauthorised
    ),
    "LiteLLM proxy, a key with 500": Case(
        500, "litellm.AuthenticationError: AuthenticationError: OpenAIException - no", Unauthorised
    ),
    "OpenAI, no key": Case(400, "You didn't provide an API key.", Unauthorised),
    "403 without a word": Case(403, "", Unauthorised),
    # models
    "LiteLLM proxy, a model": Case(
        400, "/chat/completions: Invalid model name passed in model=gpt-9. Call `/v1/models`", UnknownModel
    ),
    "OpenAI, a model": Case(
        403, error("Project `p` does not have access to model `gpt-9`", code="model_not_found"), UnknownModel
    ),
    "Together, a model": Case(400, "Unable to access model x/gpt-9. Please visit our site", UnknownModel),
    "OpenRouter, a model": Case(400, "x/gpt-9 is not a valid model ID", UnknownModel),
    "DeepSeek, a model": Case(400, "Model Not Exist", UnknownModel),
    "Ollama, a model": Case(404, 'model "llama9" not found, try pulling it first', UnknownModel),
    "Mistral, a model": Case(400, error("Invalid model: mistral-9", type="invalid_model"), UnknownModel),
    "LiteLLM proxy, a model that the key may not use": Case(
        401,
        error("no", type="key_model_access_denied", param="model", code="401"),
        UnknownModel,
        hint="this key may not use this model",
    ),
    "Groq, a model that is gone": Case(
        400,
        error("The model `x` is no longer supported", code="model_decommissioned"),
        UnknownModel,
    ),
    "a model that is gone, in words": Case(400, "The model x-8b has been decommissioned.", UnknownModel),
    "OpenAI, a model in quotes": Case(400, "The model 'gpt-9' does not exist", UnknownModel),
    # filters
    "Azure, a filter": Case(
        400,
        error(
            "The response was filtered due to the prompt triggering our content management policy.",
            code="content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
        ContentFiltered,
    ),
    "OpenRouter, a filter": Case(
        403, "Your chosen model requires moderation and your input was flagged", ContentFiltered
    ),
    "xAI, a filter": Case(403, {"error": "Content violates usage guidelines."}, ContentFiltered),
    "OpenAI, a filter": Case(
        400, "Your request was rejected as a result of our safety system.", ContentFiltered
    ),
    "Qwen, a filter": Case(400, error("bad", code="data_inspection_failed"), ContentFiltered),
    "Anthropic, a filter": Case(400, "Output blocked by content filtering policy", ContentFiltered),
    "a filter with a hyphen": Case(400, "blocked by content-filter", ContentFiltered),
    "Gemini, a filter": Case(400, "The prompt was blocked due to SAFETY", ContentFiltered),
    "LiteLLM proxy, a guardrail": Case(400, "Violated guardrail policy", ContentFiltered),
    "a guardrail's code": Case(400, error("no", code="guardrail_intervened"), ContentFiltered),
    # settings of the profile
    "Groq, more output than there is": Case(
        400,
        error(
            "`max_tokens` (8192) exceeds the maximum allowed completion tokens (4096)",
            param="max_tokens",
        ),
        BadRequest,
        hint="max_tokens",
    ),
    "more output than there is": Case(
        400, "max_tokens exceeds the maximum output length", BadRequest, hint="max_tokens"
    ),
    "Anthropic, more output than there is": Case(
        400,
        "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens for claude",
        BadRequest,
        hint="max_tokens",
    ),
    "DeepSeek, more output than there is": Case(
        400,
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        BadRequest,
        hint="max_tokens",
    ),
    "at most so much output": Case(
        400, "max_tokens must be at most 4096, got 9000", BadRequest, hint="max_tokens"
    ),
    "a parameter of a filter": Case(400, "Unknown parameter: 'moderation'.", BadRequest),
    "a parameter of a filter, bare": Case(400, "Unknown parameter: content_filter", BadRequest),
    "a guardrail that is not there": Case(
        400, "The guardrail identifier or version provided in the request does not exist", BadRequest
    ),
    "an output that is no JSON": Case(
        400,
        error("Invalid model output: failed to generate JSON", code="json_validate_failed"),
        BadRequest,
    ),
    "a template that is not there": Case(
        400, "Request to model gpt-5 refers to a prompt template that does not exist", BadRequest
    ),
    # nothing of the kind
    "a parameter": Case(
        400, "max_tokens is too large: 100000. This supports at most 16384", BadRequest, hint="max_tokens"
    ),
    "a filter that is down": Case(503, "the moderation service is down", BadResponse),
    "a page on the way": Case(502, "<html>context window, moderation: Bad Gateway</html>", BadResponse),
    "a prompt that is sent back": Case(
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "n"],
                    "msg": "Extra inputs are not permitted",
                    "input": {"messages": "insufficient_quota, invalid_api_key: prompt is too long"},
                }
            ]
        },
        BadRequest,
    ),
    "a prompt that is sent back in words": Case(
        400, "1 error: {'loc': ('n',), 'msg': 'not permitted', 'input': 'insufficient_quota'}", BadRequest
    ),
    "an echo in quotes with 500": Case(
        500,
        "Internal error while processing: 'weird: what does insufficient_quota mean?'",
        BadResponse,
    ),
    "an echo in double quotes": Case(
        400,
        """Could not parse the message content: "Why do I get 'Incorrect API key provided'?\"""",
        BadRequest,
    ),
    "an echo of Pydantic's": Case(
        400, "1 error … input_value={'text': 'why invalid_api_key?'}, input_type=dict", BadRequest
    ),
    "an echo of a field's own": Case(400, "Extra: {'text': 'why invalid_api_key?'}", BadRequest),
    "an echo without quotes": Case(
        400,
        "Jinja template error at Explain API key not valid errors (line 1)",
        BadRequest,
        prompt="Explain API key not valid errors",
    ),
    "an echo of a part of a long prompt": Case(
        400,
        "cannot render: the model does not exist, says",
        BadRequest,
        prompt="Why? It fails: the model does not exist, says my server. " * 9,
    ),
    "an echo that asks to wait": Case(
        503,
        "no: please try again in 5 hours or so",
        BadResponse,
        prompt="I read: please try again in 5 hours",
    ),
    "an echo that fills a field of any name": Case(
        400, error("bad", got="insufficient_quota"), BadRequest, prompt="Explain insufficient_quota."
    ),
    "an echo with its lines escaped": Case(
        400, "bad: is it\\ninvalid_api_key or", BadRequest, prompt="Why is it\ninvalid_api_key or not?"
    ),
    "an echo of an error body": Case(
        400,
        """cannot read: {"error": {"code": "insufficient_quota"}}""",
        BadRequest,
        prompt="""What is {"error": {"code": "insufficient_quota"}}?""",
    ),
    "an echo of an exception": Case(
        500, "BudgetExceededError: is what?", BadResponse, prompt="BudgetExceededError: is what?"
    ),
    "an echo without quotes with 500": Case(
        500, "Jinja template error at Explain API key not valid errors", BadResponse
    ),
    "a context in an echo with 500": Case(
        500, "failed on text 'maximum context length of gpt-4?'", BadResponse
    ),
    "a store of keys that is down": Case(
        503, "upstream: authentication_error could not reach key store", BadResponse
    ),
    "an echo in the context of a complaint": Case(
        422, {"detail": [{"msg": "bad", "ctx": {"text": "invalid_api_key"}}]}, BadRequest
    ),
    "an echo in a user's message": Case(500, {"user_message": "prompt is too long"}, BadResponse),
    "an exception of Python's": Case(500, "KeyError: 'Payment Required'", BadResponse),
    "a real refusal of a prompt with its words": Case(
        400,
        "This model's maximum context length is 8192 tokens.",
        ContextTooLong,
        prompt="The log said: maximum context length reached, and much more.",
    ),
    "a real code of a prompt with its words": Case(
        429,
        error("no", code="insufficient_quota"),
        QuotaExhausted,
        prompt="What is code: insufficient_quota?",
    ),
    "a page with a mark of order": Case(502, "\ufeff<html>prompt is too long</html>", BadResponse),
    "an answer that is sent back": Case(
        400, error("Failed to generate JSON", failed_generation="Incorrect API key provided"), BadRequest
    ),
}


def as_bytes(body: Any) -> bytes:
    if isinstance(body, str) and not body.startswith(("<", "\ufeff")) and body:
        body = error(body)
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.fixture(autouse=True)
def no_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table alone decides, whether or not an earlier test has loaded LiteLLM."""
    monkeypatch.delitem(sys.modules, "litellm.litellm_core_utils.exception_mapping_utils", raising=False)


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_is_understood_by_its_words(name: str) -> None:
    case = CASES[name]
    sent = json.dumps({"messages": [{"role": "user", "content": case.prompt}]}).encode()
    raised = status_error(case.status, {}, as_bytes(case.body), "host", sent)
    assert case.hint in raised.hint
    assert bool(case.hint) == bool(raised.hint)
    assert (type(raised), raised.retry_after) == (case.kind, case.wait)
    assert raised.message.startswith(f"host answered {case.status}")


FIRM = [
    name
    for name, case in CASES.items()
    if isinstance(case.body, dict)
    and (case.kind is ContextTooLong or name.startswith(("LiteLLM proxy, a budget", "OpenAI, a quota")))
]


@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("name", FIRM)
def test_what_cannot_mean_anything_else_is_understood_with_any_status(name: str, status: int) -> None:
    body = CASES[name].body
    if status == 500:
        assert type(status_error(500, {}, as_bytes(body), "host")) is CASES[name].kind
    elif "error" in body:
        with pytest.raises(CASES[name].kind):
            json_object(as_bytes(body), "host")


SENTENCES = [
    name
    for name, case in CASES.items()
    if isinstance(case.body, str)
    and case.status < 500
    and case.kind in (QuotaExhausted, Unauthorised, UnknownModel)
]


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_of_a_broken_server_ends_no_run(name: str) -> None:
    """A server in trouble may quote anybody; without a code it is a failure like any other."""
    error = status_error(503, {}, as_bytes(CASES[name].body), "host")
    assert (type(error) in (BadResponse, RateLimited), error.fatal) == (True, False)


def test_words_without_a_known_field_around_them_are_read_as_well() -> None:
    assert error_class(400, "prompt is too long") is ContextTooLong
    assert type(status_error(429, {}, b"insufficient_quota", "host")) is QuotaExhausted


@pytest.mark.parametrize("text", [str(case.body) for case in CASES.values()], ids=CASES)
def test_an_answer_is_no_refusal_whatever_it_says(text: str) -> None:
    reply = {"choices": [{"message": {"content": text}}], "error": None}
    assert json_object(json.dumps(reply).encode(), "host") == reply
    beside = reply | {"error": {"message": text, "code": 401}}
    assert json_object(json.dumps(beside).encode(), "host") == beside, "a choice is there"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"error": "overloaded", "choices": []}, BadResponse),
        ({"error": {"message": "slow down", "code": "429"}}, RateLimited),
        ({"object": "error", "message": "no", "code": 404}, UnknownModel),
        ({"object": "error", "message": "prompt is too long", "code": 40303}, ContextTooLong),
    ],
)
def test_an_error_in_the_place_of_an_answer_is_one(reply: dict[str, Any], kind: type[BackendError]) -> None:
    with pytest.raises(BackendError) as caught:
        json_object(json.dumps(reply).encode(), "host")
    assert type(caught.value) is kind


def test_every_row_of_the_table_decides_a_case() -> None:
    """A row that never decides is a mistake: one above it reads all that it reads."""
    said = [(words_of(as_bytes(case.body)), case.status) for case in CASES.values()]
    deciding = {id(meaning_of(words, status)) for words, status in said}
    assert [w.pattern.pattern for w in WORDINGS if id(w) not in deciding] == []


def test_litellms_own_list_is_asked_only_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "the prompt is a little long for what this thing can hold"
    assert error_class(400, words) is BadRequest
    checker = SimpleNamespace(is_error_str_context_window_exceeded=lambda text: text == words)
    monkeypatch.setitem(
        sys.modules,
        "litellm.litellm_core_utils.exception_mapping_utils",
        SimpleNamespace(ExceptionCheckers=checker),  # type: ignore[arg-type]
    )
    assert error_class(400, words) is ContextTooLong
    assert error_class(400, "no") is BadRequest


@pytest.mark.contract
def test_the_table_reads_all_that_litellms_own_list_does() -> None:
    from litellm.litellm_core_utils.exception_mapping_utils import ExceptionCheckers

    for name, case in CASES.items():
        words = words_of(as_bytes(case.body))
        if ExceptionCheckers.is_error_str_context_window_exceeded(words.text):
            assert case.kind is ContextTooLong, name


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ('"retryDelay": "26s"', 26.0),
        (r"\"retryDelay\": \"26s\"", 26.0),
        ("retryDelay: 0.5s", 0.5),
        ("Please retry in 20.04s.", 20.04),
        ("Please try again in 6m0s.", 360.0),
        ("try again in 1h2m3s", 3723.0),
        ("Please retry after 30 seconds.", 30.0),
        ("retry_after: 12", 12.0),
        ("retry_after_ms... wait 5 minutes", 300.0),
        ("retry_after_ms: 2500", 2.5),
        ("retry-after: 7", 7.0),
        ("Please try again in 1d4h12m.", 101_520.0),
        ("available in a while; try again in 2 days", 172_800.0),
        ("wait 1 minute and 30 seconds", 90.0),
        ("wait 1 hour, 2 minutes, and 3 seconds", 3723.0),
        ("try again in approximately 12 seconds", 12.0),
        ("Please try again in 99999999999s", None),
        ("try again in a while", None),
        ("try again in -5s", None),
        ("I waited 30 seconds", None),
    ],
)
def test_a_wait_in_words_is_read_in_all_its_forms(words: str, seconds: float | None) -> None:
    assert wait_in(words) == seconds


@pytest.mark.parametrize("junk", ["", "s", "1e9", "nan", "5 fortnights", "١٢s", "1_0s", "-5s", "5s!"])
def test_what_is_no_duration_is_none(junk: str) -> None:
    assert duration(junk) is None
