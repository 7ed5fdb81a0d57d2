"""A profile as a model of LiteLLM's proxy, with the configuration that the page about it shows."""

import json
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from environment import server_environment, server_python
from loopback import Loopback, Reply
from servers import free_port, server_process, wait_for
from shell import PATIENCE, ROOT

pytestmark = pytest.mark.real
HERE = Path(__file__).parent
KEY = "sk-" + "0123456789abcdef" * 2
PAGE = (ROOT / "docs" / "litellm-proxy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def proxy_python(server_folder: Path) -> Path:
    """The Python of a proxy that has what automix needs; automix itself is that of this checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return server_python(server_folder, ("litellm[proxy]", *project["dependencies"]))


def write_config(folder: Path, busy_url: str) -> Path:
    """The page's configuration, with a key, a logger, and a model whose provider is always busy."""
    match = re.search(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    assert match
    config = yaml.safe_load(match[1])
    busy = {"model": "automix/./busy.yaml", "num_retries": 0}
    config["model_list"].append({"model_name": "busy", "litellm_params": busy})
    config["litellm_settings"]["callbacks"] = ["spend_log.logger"]
    config["general_settings"] = {"master_key": KEY}
    (folder / "busy.yaml").write_text(
        "version: 1\nname: busy\nlimits: {attempts: 1}\ntiers:\n"
        f"  - {{name: only, model: openai/m, api_base: '{busy_url}', price: {{input: 1, output: 1}}}}\n"
    )
    shutil.copy(HERE / "spend_log.py", folder)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def spend_of(path: Path, is_whole: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The lines of the logger, which writes after the replies are sent."""
    end = time.monotonic() + PATIENCE
    while True:
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if is_whole(lines) or time.monotonic() > end:
            return lines
        time.sleep(0.2)


def test_a_profile_is_a_model_of_the_proxy(proxy_python: Path, tmp_path: Path) -> None:
    log, port = tmp_path / "proxy.log", free_port()
    url = f"http://127.0.0.1:{port}"
    with Loopback(lambda call: Reply(status=429)) as upstream:
        command = ("--config", write_config(tmp_path, upstream.url), "--host", "127.0.0.1", "--port", port)
        program = (proxy_python.parent / "litellm", *map(str, command))
        with server_process(log, *program, PYTHONPATH=str(ROOT)) as process:
            wait_for(f"{url}/health/liveliness", process, log)
            client = [str(proxy_python), str(HERE / "proxy_client.py"), f"{url}/v1", KEY]
            ran = subprocess.run(
                client, capture_output=True, text=True, timeout=PATIENCE, env=server_environment()
            )
            assert ran.returncode == 0, ran.stderr + log.read_text()
            spend = spend_of(tmp_path / "spend.jsonl", lambda lines: len(lines) >= 5)
        calls = len(upstream.calls)
    rows = json.loads(ran.stdout)
    print(json.dumps({"rows": rows, "spend": spend, "calls": calls}, indent=1))

    plain, headers = rows["plain"]["reply"], rows["plain"]["headers"]
    cost = plain["automix"]["spent_usd"]
    assert (plain["choices"][0]["message"]["content"], plain["usage"]["total_tokens"] > 1000) == ("391", True)
    assert cost > 0
    assert float(headers["x-litellm-response-cost"]) == pytest.approx(cost)
    assert headers["llm_provider-x-automix-tier"] == "small"
    assert headers["llm_provider-x-automix-route"] == "small:report"

    chunks = rows["stream"]["chunks"]
    parts = [c["choices"][0]["delta"]["content"] for c in chunks if c["choices"]]
    assert [part for part in parts if part] == ["414"]
    assert chunks[-1]["usage"]["total_tokens"] > 1000
    assert [c["automix"]["tier"] for c in chunks if c.get("automix")] == ["small"]

    assert (rows["tools"]["class"], rows["tools"]["status"]) == ("BadRequestError", 400)
    for name in ("busy", "busy stream"):
        assert rows[name]["status"] == 429, rows[name]
        assert "Why is" not in rows[name]["text"]
    assert calls == 2, "LiteLLM tried again what automix had tried"

    costs = {line["stream"]: line["cost"] for line in spend if line["event"] == "success"}
    assert costs == {False: pytest.approx(cost), True: pytest.approx(cost)}
    assert [line["model"] for line in spend if line["event"] == "failure"].count("./busy.yaml") >= 1, spend
    text = log.read_text("utf-8", "replace")
    assert "RateLimitError" in text
    assert "Why is" not in text
