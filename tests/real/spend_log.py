"""A logger of LiteLLM's that writes what every call cost into a file beside it."""

import json
from pathlib import Path

from litellm.integrations.custom_logger import CustomLogger


class SpendLog(CustomLogger):
    """One line for every call."""

    def _write(self, kwargs, event):
        payload = kwargs["standard_logging_object"]
        line = {"event": event, "model": kwargs["model"], "cost": payload["response_cost"]}
        line |= {"stream": bool(payload["stream"]), "tokens": payload["total_tokens"]}
        with Path(__file__).with_name("spend.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        """A call with a reply."""
        self._write(kwargs, "success")

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        """A call without one."""
        self._write(kwargs, "failure")


logger = SpendLog()
