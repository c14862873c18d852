"""The command before a run: plan."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.flags import EndpointFlags, LimitFlags, OutputFlags, RowFlags, grouped
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.plan import Plan

PULSE = 0.5  # seconds between two readings of the gauges
SLOW = 60.0  # seconds under which a tenth of one matters


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Runs")(plan)


@grouped
def plan(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="as for smile generate; - for recipes that need none")
    ],
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="a run folder: what it holds is not counted again")
    ] = None,
    *,
    like: Annotated[
        Path | None, typer.Option(help="another run folder, whose replies show what this model does", metavar="RUN")
    ] = None,
    pilot: Annotated[
        int | None, typer.Option(min=1, help="ask the first N rows, keep them in RUN, plan by them", metavar="N")
    ] = None,
    endpoint: EndpointFlags,
    rows: RowFlags,
    limits: LimitFlags,
    output: OutputFlags,
) -> None:
    """Tokens, cost and time before they are spent, and the limit that binds.

    smile plan psyqa.json runs/first --model gpt-4o-mini --rpm 600 --price-in 0.15 --price-out 0.6 --pilot 20

    Asks nobody without --pilot. Takes the flags of smile generate, and smile.toml.
    """
    from smile_async.cli.settings import endpoints_from, options_from, settings_from
    from smile_async.cli.watch import watching
    from smile_async.planning import plan_corpus

    settings = settings_from(output.config)
    options = options_from(settings, endpoint, rows, limits)
    at = endpoints_from(settings, endpoint)
    title = f"smile plan {source}" + (f" -> {run}" if run else "")

    async def main() -> "Plan":
        watched: Any = nullcontext((None, lambda _text: None))
        if pilot is not None and run is not None:
            watched = watching(title, run, quiet=output.quiet, verbose=output.verbose)
        with watched as (listener, notify):
            return await plan_corpus(
                None if source == "-" else source,
                run,
                provider=at,
                options=options,
                like=like,
                pilot=pilot,
                listener=listener,
                notify=notify,
                pulse=PULSE,
            )

    import asyncio

    found = asyncio.run(main())
    print_json(as_json(found)) if output.json else sys.stdout.write(plan_text(title, found))


def as_json(plan: "Plan") -> dict[str, Any]:
    """The fields that programs may rely on."""
    rates, work = plan.rates, plan.work
    return {
        "rows": work.rows,
        "left_out": work.left_out,
        "requests": round(plan.requests),
        "replies": round(plan.replies),
        "accepted": round(plan.accepted),
        "tokens": {"prompt": round(plan.prompt_tokens), "completion": round(plan.completion_tokens)},
        "cost_usd": None if plan.cost_usd is None else round(plan.cost_usd, 6),
        "budget_usd": plan.budget_usd,
        "budget_rows": plan.budget_rows,
        "seconds": round(plan.seconds, 1),
        "binds": plan.binds,
        "bounds": [
            {"limit": bound.name, "allows": bound.limit, "seconds": round(bound.seconds, 1)} for bound in plan.bounds
        ],
        "endpoints": [
            {"name": one.name, "share": round(one.share, 4), "binds": one.binds}
            for one in (plan.shares if len(plan.shares) > 1 else ())
        ],
        "uncertain": None if plan.uncertain is None else round(plan.uncertain, 4),
        "basis": {
            "from": rates.basis,
            "replies": rates.replies,
            "tokens_per_ascii_character": round(rates.per_ascii, 4),
            "tokens_per_other_character": round(rates.per_other, 4),
            "completion_tokens": round(rates.completion, 1),
            "latency_seconds": round(rates.latency, 3),
            "first_reply_accepted": round(rates.first, 4),
            "assumptions": list(rates.assumptions),
        },
    }


def plan_text(title: str, plan: "Plan") -> str:
    work, rates = plan.work, plan.rates
    aside = ", ".join(f"{reason} {rows:,}" for reason, rows in work.left_out.items())
    lines = [
        title,
        f"  rows       {work.rows:,} to ask" + (f"; not asked: {aside}" if aside else ""),
        f"  requests   {plan.requests:,.0f}; about {plan.accepted:,.0f} rows accepted",
        f"  tokens     {_tokens(plan.prompt_tokens)} in, {_tokens(plan.completion_tokens)} out" + _within(plan),
        f"  cost       {_cost(plan)}",
        f"  time       {_time(plan.seconds)}" + (f"; what binds: {plan.binds}" if work.rows else ""),
        "",
        *_limits(plan),
        *_endpoints(plan),
        "",
        f"Rests on {rates.basis}" + (f": {rates.replies:,} replies," if rates.replies else ":"),
        f"  {rates.completion:,.0f} tokens and {rates.latency:.1f} s an answer, {rates.first:.1%} accepted at once",
    ]
    if work.sampled is not None:
        lines.append(f"  {work.sampled:,} prompts were measured, drawn from all rows")
    if rates.assumptions:
        lines += ["", "ASSUMED, not measured (better: RUN, --like RUN or --pilot N):"]
        lines += [f"  {assumption}" for assumption in rates.assumptions]
    return "\n".join(lines) + "\n"


def _within(plan: "Plan") -> str:
    return "" if plan.uncertain is None else f" (within {max(plan.uncertain, 0.01):.0%}, if the rest is like these)"


def _cost(plan: "Plan") -> str:
    if plan.cost_usd is None:
        return "unknown: --price-in and --price-out say what a million tokens cost"
    told = f"${plan.cost_usd:,.4f}" if plan.cost_usd < 100 else f"${plan.cost_usd:,.2f}"
    if plan.budget_usd is None or plan.budget_rows is None:
        return told
    if plan.budget_rows >= plan.work.rows:
        return f"{told}: the budget is enough (${plan.budget_usd:,.2f} of it is left)"
    return f"{told}: the budget (${plan.budget_usd:,.2f} of it is left) is enough for {plan.budget_rows:,} rows"


def _limits(plan: "Plan") -> list[str]:
    width = max(len(bound.name) for bound in plan.bounds)
    lines = [f"  {'limit':<{width}}  {'allows':>9}  takes at least"]
    for number, bound in enumerate(plan.bounds):
        allows = "" if "CPU" in bound.name else _tokens(bound.limit)
        lines.append(f"  {bound.name:<{width}}  {allows:>9}  {_time(bound.seconds)}{'' if number else '  <- binds'}")
    return lines


def _endpoints(plan: "Plan") -> list[str]:
    """Who does how much, where there are several."""
    if len(plan.shares) == 1:
        return []
    width = max(len(one.name) for one in plan.shares)
    return ["", *(f"  {one.name:<{width}}  {one.share:>6.1%} of the requests; {one.binds}" for one in plan.shares)]


def _tokens(number: float) -> str:
    from smile_async.cli.figures import amount

    return amount(number)


def _time(seconds: float) -> str:
    from smile_async.cli.figures import duration

    return f"{seconds:.1f} s" if seconds < SLOW else duration(seconds)
