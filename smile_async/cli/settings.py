"""From flags and `smile.toml` to settings. Flags win over the file, the file over the environment and defaults."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smile_async.cli.flags import AskFlags, EndpointFlags, LimitFlags, RowFlags
from smile_async.errors import SettingsError
from smile_async.notes import noted_endpoints, read_notes
from smile_async.options import Options
from smile_async.settings import Endpoint, FileSettings, Limits, Prices, RetryPolicy, override, read_settings

HERE = Path("smile.toml")


def settings_from(config: Path | None) -> FileSettings:
    """The file named, or `smile.toml` of this folder, or nothing but defaults."""
    path = config or (HERE if HERE.is_file() else None)
    return read_settings(path) if path is not None else FileSettings()


def endpoints_from(settings: FileSettings, flags: AskFlags, unnamed: Endpoint | None = None) -> list[Endpoint]:
    """Where to ask; `unnamed` where neither a model nor an address is named."""
    named = _changed(settings.endpoint, flags)
    return named if unnamed is None or flags.base_url or any(one.model for one in named) else [unnamed]


def _changed(endpoints: Sequence[Endpoint], flags: AskFlags) -> list[Endpoint]:
    """With what the flags change. Flags that say where to ask mean one endpoint, not all of several."""
    where = {"--provider": flags.provider, "--base-url": flags.base_url, "--deployment": flags.deployment}
    if len(endpoints) > 1 and (flag := next((name for name, value in where.items() if value is not None), None)):
        raise SettingsError(
            f"{flag} names one endpoint, and there are {len(endpoints)}.", hint="Change them in smile.toml (--config)."
        )
    return [_changed_one(endpoint, flags) for endpoint in endpoints]


def _changed_one(endpoint: Endpoint, flags: AskFlags) -> Endpoint:
    return override(
        endpoint,
        provider=flags.provider,
        base_url=flags.base_url,
        deployment=flags.deployment,
        api_version=flags.api_version,
        model=flags.model,
        api_key_env=flags.api_key_env,
        max_tokens_field=flags.max_tokens_field,
        fixed_sampling=flags.fixed_sampling,
    )


def options_from(
    settings: FileSettings, flags: EndpointFlags, rows: RowFlags, limits: LimitFlags, salvage: str | None = None
) -> Options:
    intake = override(
        settings.intake,
        limit=rows.limit,
        sample=rows.sample,
        seed=rows.seed,
        columns=rows.columns,
        format=rows.format,
        encoding=rows.encoding,
        skip_bad_rows=rows.skip_bad_rows or None,
        clean=rows.clean,
        max_characters=rows.max_characters,
    )
    return replace(
        task_options(settings, flags, limits),
        recipe=flags.recipe or settings.recipe,
        salvage=salvage if salvage is not None else settings.salvage,
        intake=intake,
    )


def task_options(settings: FileSettings, flags: AskFlags, limits: LimitFlags) -> Options:
    """For any task: without recipe and rows."""
    options = Options(
        sampling=override(
            settings.sampling, temperature=flags.temperature, top_p=flags.top_p, max_tokens=flags.max_tokens
        ),
        limits=settings.limits,
        retry=settings.retry,
        prices=settings.prices,
        timeouts=settings.timeouts,
    )
    return _with_limits(options, limits)


def changed_options(options: Options, config: Path | None, flags: EndpointFlags, limits: LimitFlags) -> Options:
    """For a run that goes on, by a file that was named and by flags: limits may be others; what shapes the requests may
    not, and is refused by the run."""
    if config is not None:
        told = read_settings(config)
        given = {name: getattr(told, name) for name in ("limits", "retry", "prices", "timeouts", "sampling")}
        options = replace(options, **{name: one for name, one in given.items() if name in told.model_fields_set})
    if flags.recipe is not None:
        options = replace(options, recipe=flags.recipe)
    sampling = override(options.sampling, temperature=flags.temperature, top_p=flags.top_p, max_tokens=flags.max_tokens)
    return _with_limits(replace(options, sampling=sampling), limits)


def changed_endpoints(run: Path, config: Path | None, flags: EndpointFlags) -> list[Endpoint] | None:
    """The run's endpoints, or those of a file that was named, with what the flags change; headers are read again from
    the file. None: the run's provider was an object of the caller's."""
    noted = read_notes(run)["endpoint"]
    if noted is None:
        return None
    told = settings_from(config)
    if config is not None and "endpoint" in told.model_fields_set:
        return _changed(told.endpoint, flags)
    return _changed(noted_endpoints(noted, told.endpoint), flags)


def _with_limits(options: Options, flags: LimitFlags) -> Options:
    limits: Limits = override(
        options.limits,
        requests_per_minute=flags.rpm,
        tokens_per_minute=flags.tpm,
        input_tokens_per_minute=flags.input_tpm,
        output_tokens_per_minute=flags.output_tpm,
        requests_per_day=flags.rpd,
        tokens_per_day=flags.tpd,
        window=flags.window,
        concurrency=flags.concurrency,
        budget_usd=flags.budget,
    )
    prices = options.prices
    if flags.price_in is not None or flags.price_out is not None:
        prices = override(prices or Prices(), input=flags.price_in, output=flags.price_out)
    if limits.budget_usd is not None and (prices is None or (prices.input == 0 and prices.output == 0)):
        raise SettingsError(
            "A budget needs prices.",
            hint="Add --price-in and --price-out (US dollars a million tokens), or [prices] to smile.toml.",
        )
    timeouts = options.timeouts
    if flags.timeout is not None:
        timeouts = override(timeouts, total=flags.timeout, read=min(timeouts.read, flags.timeout))
    return replace(options, limits=limits, prices=prices, timeouts=timeouts, retry=_retry(options.retry, flags))


def _retry(retry: RetryPolicy, flags: LimitFlags) -> RetryPolicy:
    if flags.until_valid and flags.max_attempts is not None:
        raise SettingsError("--until-valid and --max-attempts exclude each other.", hint="Give one of them.")
    if flags.until_valid:
        return retry.model_copy(update={"max_attempts": None})
    return override(retry, max_attempts=flags.max_attempts)
