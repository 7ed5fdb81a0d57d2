"""What OpenAI's client gets of a profile behind LiteLLM's proxy; arguments: base URL, key."""

import json
import sys

import openai

base, key = sys.argv[1:]
client = openai.OpenAI(base_url=base, api_key=key, timeout=300, max_retries=0)


def ask(model: str, text: str, **more: object) -> dict[str, object]:
    """The reply to a question, or the error in its place."""
    messages = [{"role": "user", "content": text}]
    try:
        raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, **more)
        if more.get("stream"):
            return {"chunks": [chunk.model_dump() for chunk in raw.parse()]}
        return {"headers": dict(raw.headers), "reply": raw.parse().model_dump()}
    except openai.APIStatusError as exc:
        return {"class": type(exc).__name__, "status": exc.status_code, "text": str(exc)}
    except openai.APIError as exc:
        return {"class": type(exc).__name__, "status": None, "text": str(exc)}


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
rows = {
    "plain": ask("automix", "What is 17 * 23?"),
    "stream": ask("automix", "What is 18 * 23?", **STREAM),
    "tools": ask("automix", "What is 19 * 23?", tools=[TOOL]),
    "busy": ask("busy", "Why is the sea so deep?"),
    "busy stream": ask("busy", "Why is the sea so salty?", **STREAM),
}
print(json.dumps(rows))
