"""`plan_corpus`: the source read, its prompts measured, what a run has shown gathered, and all of it handed to `plan`.

Nothing is asked, but with `pilot`, whose rows are kept in the run folder so that they are not paid for again.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smile_async.answering import name_of, told_apart
from smile_async.dialogue_task import dialogue_task
from smile_async.engine import account, experience, schema
from smile_async.engine.events import Listener
from smile_async.engine.feed import BAD_ROW, DUPLICATE, Unreadable, identity_digest
from smile_async.engine.ledger import Ledger
from smile_async.engine.task import Provider, Task
from smile_async.errors import RunInUseError, RunMismatchError, UsageError
from smile_async.notes import endpoints_of, read_notes
from smile_async.options import Options
from smile_async.pipeline import generate_corpus, recipe_for
from smile_async.plan import Place, Plan, Work, predict
from smile_async.prompt.recipe import Recipe
from smile_async.rates import Rates, Seen, Size, assumed, learned, size_of
from smile_async.rows import Given, Seed, opened, rows_identity, seeds
from smile_async.settings import Endpoint, Quota
from smile_async.told_quota import told_limits, within

if TYPE_CHECKING:
    import httpx

RENDERED = 5_000  # prompts: beyond that a sample of so many stands for all
REPLIES = 5_000  # of a run, looked at
TRACKED = 2_000_000  # rows that are looked at for duplicates
ENDED = "ended"
SAMPLE_SEED = 0


async def plan_corpus(
    source: Given,
    out: str | Path | None = None,
    *,
    provider: Provider | Endpoint | Sequence[Endpoint],
    options: Options | None = None,
    like: str | Path | None = None,
    pilot: int | None = None,
    listener: Listener | None = None,
    client: "httpx.AsyncClient | None" = None,
    notify: Callable[[str], None] = lambda _text: None,
    pulse: float | None = None,
) -> Plan:
    """Predict what `generate_corpus` with the same arguments will take from where `out` stands.

    What cannot be known without asking comes from the replies in `out`, else from those in the run folder `like`, else
    from assumptions, which the plan names. `pilot` asks the first so many rows, if `out` does not hold as many, and
    keeps them there. Raises what `generate_corpus` raises for the source, the recipe and the settings.
    """
    options = options or Options()
    recipe = recipe_for(provider, options)
    folder = None if out is None else Path(out)
    if pilot is not None:
        if folder is None:
            raise UsageError(
                "A pilot needs a run folder that keeps its replies.", hint="smile plan SOURCE RUN --pilot N"
            )
        await _ask_first(
            pilot, source, folder, provider=provider, options=options, listener=listener, client=client,
            notify=notify, pulse=pulse,
        )  # fmt: skip
    max_tokens = options.sampling.over(recipe.sampling).max_tokens
    task = dialogue_task(recipe, max_tokens=max_tokens, rows=rows_identity(recipe, options.intake))
    there = _Standing.of(folder, task, provider)
    work = measure(seeds(opened(source, options.intake), recipe, options.intake), task, there)
    rates = there.rates or (None if like is None else _rates_of(Path(like), f"run {like}"))
    return predict(
        work,
        rates or assumed(recipe.language, max_tokens),
        limits=options.limits,
        prices=options.prices,
        policy=options.retry,
        max_tokens=max_tokens,
        spent_usd=there.spent_usd,
        places=_places(endpoints_of(provider), options.limits, there.told or _told_in(like)),
    )


def _places(endpoints: Sequence[Endpoint], limits: Quota, told: Mapping[str, Mapping[str, float]]) -> list[Place]:
    """`told`: what the servers said in the run that the plan is made from, by endpoint."""
    names = told_apart([name_of(one) for one in endpoints])
    places = [
        Place(name, within(one.quota or limits, told[name]) if name in told else one.quota, one.prices)
        for name, one in zip(names, endpoints, strict=True)
    ]
    if not places:  # a provider of the caller's own
        return [Place(quota=within(limits, quota)) for quota in told.values()][:1] or [Place()]
    return [replace(places[0], name="")] if len(places) == 1 else places


def _told_in(run: str | Path | None) -> dict[str, dict[str, float]]:
    if run is None:
        return {}
    with schema.reading(Path(run)) as reader:
        return told_limits(account.limit_changes(reader))


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the run folder holds already. `key` is what its row ids are hashed with."""

    key: bytes = b""
    ended: frozenset[str] = frozenset()
    rates: Rates | None = None
    spent_usd: float = 0.0
    told: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, folder: Path | None, task: Task[Seed, Any], provider: Provider | Endpoint | Sequence[Endpoint]
    ) -> "_Standing":
        if folder is None or not (folder / schema.DATABASE).exists():
            return cls()
        with schema.reading(folder) as reader:
            identity = account.read_meta(reader, "identity") or {}
            _check(folder, identity, task, provider)
            counts = account.read_counts(reader)
            ended = frozenset(experience.ended_rows(reader))
            told = told_limits(account.limit_changes(reader))
        rates = _rates_of(folder, f"run {folder}") if counts.replies else None
        return cls(identity_digest(identity), ended, rates, counts.spend_usd + counts.perhaps_usd, told)


def _check(
    folder: Path,
    identity: dict[str, Any],
    task: Task[Seed, Any],
    provider: Provider | Endpoint | Sequence[Endpoint],
) -> None:
    """`smile generate` would refuse another recipe or model: better said now."""
    wanted: dict[str, Any] = {**task.identity}
    for endpoint in endpoints_of(provider):
        wanted |= {"model": endpoint.model} if endpoint.provider != "local" else {}
    if not isinstance(provider, Endpoint | Sequence):
        wanted |= provider.identity
    if differ := sorted(key for key, value in wanted.items() if identity.get(key) != value):
        raise RunMismatchError(
            f"{folder} was started with other settings: {', '.join(differ)}.",
            hint="Plan with another run folder; what this one has shown is used with --like.",
        )


def measure(rows: Iterator[Seed | Unreadable], task: Task[Seed, Any], there: _Standing | None = None) -> Work:
    """Count the rows that will be asked and measure their prompts, of at most `RENDERED` of them."""
    there = there or _Standing()
    tally = _Tally()
    for row in rows:
        if isinstance(row, Unreadable):
            tally.leave_out(BAD_ROW)
            continue
        name = hashlib.blake2b(task.dump_item(row), digest_size=16, key=there.key).digest()
        if tally.is_repeated(name):
            tally.leave_out(DUPLICATE)
        elif name.hex() in there.ended:
            tally.leave_out(ENDED)
        else:
            tally.take(row)
    size = Size()
    for row in tally.sample:
        size += size_of([message.content for message in task.render(row).messages])
    rendered = len(tally.sample)
    if rendered:
        size = size.scaled(tally.count / rendered)
    return Work(tally.count, size, rendered if rendered < tally.count else None, tally.left_out)


@dataclass(slots=True)
class _Tally:
    """Rows counted one by one; `sample` is drawn evenly from all of them, by a fixed seed."""

    count: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    sample: list[Seed] = field(default_factory=list)
    _names: set[bytes] = field(default_factory=set)
    _chance: random.Random = field(default_factory=lambda: random.Random(SAMPLE_SEED))

    def leave_out(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1

    def is_repeated(self, name: bytes) -> bool:
        if name in self._names:
            return True
        if len(self._names) < TRACKED:
            self._names.add(name)
        return False

    def take(self, row: Seed) -> None:
        self.count += 1
        if len(self.sample) < RENDERED:
            self.sample.append(row)
        elif (place := self._chance.randrange(self.count)) < RENDERED:
            self.sample[place] = row


def _rates_of(folder: Path, basis: str) -> Rates | None:
    """What the replies in a run folder have shown; None when there are none."""
    notes = read_notes(folder)
    recipe = Recipe.model_validate(notes["recipe"])
    max_tokens = Options.from_notes(notes["options"], recipe).sampling.over(recipe.sampling).max_tokens
    task = dialogue_task(recipe, max_tokens=max_tokens)
    with schema.reading(folder) as reader:
        fates = experience.read_fates(reader)
        seen = [
            Seen(
                size_of([message.content for message in task.render(task.load_item(one.item)).messages]),
                one.prompt_tokens,
                one.completion_tokens,
                one.took,
            )
            for one in experience.past_replies(reader, most=REPLIES)
        ]
    if not seen:
        return None
    return learned(basis, seen, fates, assumed(recipe.language, max_tokens))


async def _ask_first(count: int, source: Given, folder: Path, *, options: Options, **asking: Any) -> None:
    """Ask the first `count` rows of the run, and leave it as if it had been started with all of them and stopped."""
    if (folder / schema.DATABASE).exists():
        with schema.reading(folder) as reader:
            if account.read_counts(reader).replies >= count:
                return
    limit = options.intake.limit
    first = replace(options, intake=options.intake.model_copy(update={"limit": min(count, limit or count)}))
    try:
        report = await generate_corpus(source, folder, options=first, **asking)
    except (RunInUseError, RunMismatchError):
        raise  # another's run: it stays as it is
    except BaseException:
        await _note_the_whole(folder, limit)
        raise
    await _note_the_whole(folder, limit, stopped="" if report.state == "stopped" else "pilot")
    report.check()


async def _note_the_whole(folder: Path, limit: int | None, *, stopped: str = "") -> None:
    """The run is about all rows again, so that `smile resume` goes on with them."""
    if not (folder / schema.DATABASE).exists():
        return
    with schema.reading(folder) as reader:
        identity = account.read_meta(reader, "identity")
        noted = account.read_meta(reader, "options")
    ledger = Ledger.open(folder, identity)
    try:
        if noted is not None:
            noted["intake"]["limit"] = limit
            ledger.write(meta=("options", noted))
        for key in ("source_rows", "expected_rows"):  # it was not read to its end
            ledger.write(meta=(key, None))
        if stopped:
            ledger.write(meta=("stopped", {"reason": stopped}))
    finally:
        await ledger.close()
