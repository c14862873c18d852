"""Everything about a run but its source, its folder and whom it asks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smile_async.prompt.recipe import Recipe
from smile_async.settings import Intake, Limits, Prices, RetryPolicy, Sampling, Timeouts


@dataclass(frozen=True, slots=True)
class Options:
    """Everything about a run but its source and folder, with the defaults that suit most.

    `recipe` is a built-in name, a path to a TOML file, or a `Recipe`; None is `smile` (`smile-local` with the embedded
    model). `salvage` overrides which steps the recipe takes to mend a reply that broke a rule: `"all"`, `"none"`,
    `"speakers,tail"`, a tuple of such names; with the recipe it is kept as the run's rules. `sampling` overrides
    the recipe's. Limits, retries, prices and timeouts may change when a run goes on; recipe, model and sampling may
    not. `add_source`: rows of another source than a run's are added to it (else `RunMismatchError`); it is kept for
    `resume` alone, which may come before the first of them was noted.
    """

    recipe: str | Path | Recipe | None = None
    salvage: str | tuple[str, ...] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prices: Prices | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    intake: Intake = field(default_factory=Intake)
    add_source: bool = False

    def as_notes(self) -> dict[str, Any]:
        """What `smile resume` needs to go on, as plain data."""
        return {
            "sampling": self.sampling.model_dump(mode="json"),
            "limits": self.limits.model_dump(mode="json", exclude_unset=True),
            "retry": self.retry.model_dump(mode="json"),
            "prices": None if self.prices is None else self.prices.model_dump(mode="json"),
            "timeouts": self.timeouts.model_dump(mode="json", exclude_unset=True),
            "intake": self.intake.model_dump(mode="json"),
            "add_source": self.add_source,
        }

    @classmethod
    def from_notes(cls, notes: dict[str, Any], recipe: Recipe) -> "Options":
        return cls(
            recipe=recipe,
            sampling=Sampling(**notes["sampling"]),
            limits=Limits(**notes["limits"]),
            retry=RetryPolicy(**notes["retry"]),
            prices=None if notes["prices"] is None else Prices(**notes["prices"]),
            timeouts=Timeouts(**notes["timeouts"]),
            intake=Intake(**notes["intake"]),
            add_source=notes.get("add_source", False),
        )
