"""`automix serve`: a profile behind OpenAI's chat protocol."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from automix_cli.api import CallOptions, Runtime, choose_profile, router_notes
from automix_cli.commands import options as o
from automix_cli.commands.command import ModelCommand, command_app
from automix_cli.errors import UsageError, keep_secret
from automix_cli.process import collect_as_usual

if TYPE_CHECKING:
    from automix_cli.backends.day_budget import DayBudget
    from automix_cli.cascade.cascade import Cascade
    from automix_cli.profile.model import Profile
    from automix_cli.serving.app import ChatServer
    from automix_cli.serving.request_log import RequestLog

app = command_app()

_DEAD_AFTER = 10.0  # seconds: whoever asked waits for it, and a client's own patience may be short


@app.command("serve", cls=ModelCommand)
def serve(
    profile: o.ProfileName = None,
    tiers: o.Tiers = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on; others than 127.0.0.1 need a key."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")
    ] = 8765,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="NAME", help="Variable that holds the key clients must send."),
    ] = None,
    max_cost_per_day: Annotated[
        float | None,
        typer.Option(
            "--max-cost-per-day",
            min=0.0,
            metavar="USD",
            help="Never spend more than this from midnight to midnight UTC.",
            callback=o.finite,
        ),
    ] = None,
    concurrency: o.Concurrency = None,
    no_cache: o.NoCache = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    version: o.Version = False,
) -> None:
    """Serve a profile to every client of OpenAI's chat protocol.

    Clients take http://127.0.0.1:8765/v1 as their base URL and the profile's name, or automix, as the model;
    the name of a tier asks that tier alone. Each request is a line of JSON on stderr, without its text.
    Ctrl-C finishes what is under way.

    \b
    Examples:
      automix serve --profile demo
      automix serve --profile ./automix.yaml --max-cost-per-day 5
      automix serve --host 0.0.0.0 --api-key-env AUTOMIX_SERVER_KEY
    """  # noqa: D301
    import asyncio

    from automix_cli.serving.lifecycle import check_reach, open_socket
    from automix_cli.serving.request_log import RequestLog

    key = _key(api_key_env)
    check_reach(host, key)
    options = CallOptions(
        profile=profile, tiers=tiers, no_cache=no_cache, concurrency=concurrency, patience=_DEAD_AFTER
    )
    active_profile = choose_profile(options)
    log = RequestLog(quiet=quiet, verbose=verbose)
    with open_socket(host, port) as listener:
        budget = _day_budget(active_profile, max_cost_per_day)
        runtime = Runtime(active_profile, options, note=log.note, detail=log.note, budget=budget)
        for line in router_notes(active_profile):
            log.note(line)

        async def main() -> int:
            from automix_cli.serving.lifecycle import serve as run_server

            collect_as_usual()
            async with runtime as cascade:
                server = _server(cascade, runtime, key, budget, log)
                return await run_server(server, listener)

        raise typer.Exit(asyncio.run(main()))


def _key(variable: str | None) -> str:
    """The key that clients must send; "" where none is asked for.

    Raises:
        UsageError: the variable is not set.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        hint = f'export {variable}="$(openssl rand -hex 16)"'
        raise UsageError(f"--api-key-env {variable}: {variable} is not set", hint=hint)
    keep_secret(key)
    return key


def _day_budget(profile: Profile, per_day: float | None) -> DayBudget | None:
    """The budget of a day: the smaller of the option's and the profile's cap; None without either."""
    caps = [
        (cap, name)
        for cap, name in ((per_day, "--max-cost-per-day"), (profile.limits.max_cost, "limits.max_cost"))
        if cap is not None
    ]
    if not caps:
        return None
    cap, name = min(caps)
    from automix_cli.backends.day_budget import DayBudget
    from automix_cli.backends.spending import SpendingLedger
    from automix_cli.backends.store_folder import cache_folder

    return DayBudget(cap, SpendingLedger(cache_folder(os.environ), profile.name), option=name)


def _server(
    cascade: Cascade, runtime: Runtime, key: str, budget: DayBudget | None, log: RequestLog
) -> ChatServer:
    """The server of a cascade, with its counters."""
    from automix_cli.serving.access import Access
    from automix_cli.serving.app import ChatServer
    from automix_cli.serving.desk import QuestionDesk
    from automix_cli.serving.metrics import Gauge
    from automix_cli.serving.models import ServedModels

    desk = QuestionDesk(cascade.profile.limits.concurrency)
    server = ChatServer(ServedModels(cascade), desk, Access(key), log)
    server.metrics.gauges += [
        Gauge("automix_questions_at_work", "Questions being answered.", lambda: desk.at_work),
        Gauge("automix_questions_in_line", "Questions that wait for their turn.", lambda: desk.in_line),
        Gauge("automix_spent_usd_total", "Dollars paid.", lambda: runtime.meter.spent_usd, "counter"),
    ]
    if budget is not None:
        left = Gauge("automix_day_left_usd", "Dollars left of this day's budget.", lambda: budget.left_usd)
        server.metrics.gauges.append(left)
    return server
