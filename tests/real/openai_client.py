"""What OpenAI's client gets of a server; run with the Python of the clients: base URL, model, question."""

import json
import sys

import openai

base, model, text = sys.argv[1:]
client = openai.OpenAI(base_url=base, api_key="none", timeout=300)
messages = [{"role": "user", "content": text}]
row: dict[str, object] = {"version": openai.__version__, "models": [m.id for m in client.models.list()]}
try:
    reply = client.chat.completions.create(model=model, messages=messages, temperature=0.5)
    row |= {"plain": reply.choices[0].message.content, "usage": reply.usage.total_tokens}
    row["block"] = reply.model_extra["automix"]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model=model, messages=messages, **options))
    row["stream"] = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    row["stream_usage"] = chunks[-1].usage.total_tokens
    client.chat.completions.create(model=model, messages=messages, n=2)
except openai.APIStatusError as exc:
    row["error"] = {"class": type(exc).__name__, "status": exc.status_code, "code": exc.code}
print(json.dumps(row))
