"""What a study of section 6 is made with: two presets, one for a laptop and one of the paper's size."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from smile_async.chatbot.base_model import EMBEDDED_NAME, Precision
from smile_async.chatbot.training import TrainingSettings
from smile_async.errors import UsageError
from smile_async.settings import Endpoint

Preset = Literal["small", "paper"]
StepName = Literal["cases", "sessions", "baseline", "training", "fine-tuned", "metrics", "ballots"]
STEPS: tuple[StepName, ...] = ("cases", "sessions", "baseline", "training", "fine-tuned", "metrics", "ballots")

_MODEL: tuple[StepName, ...] = ("baseline", "training", "fine-tuned")
SHAPES: Mapping[str, tuple[StepName, ...]] = {
    **dict.fromkeys(("corpus", "cases_file", "test", "cases", "seed"), STEPS),
    **dict.fromkeys(("validation", "system"), STEPS[1:]),
    **dict.fromkeys(("base", "precision", "trust_remote_code", "max_tokens"), _MODEL),
    **dict.fromkeys(
        ("epochs", "sessions", "max_length", "evaluations", "checkpoint_steps", "learning_rate"), ("training",)
    ),
    "ballots": ("ballots",),
}
"""Which steps a setting shapes. While none of them has come to its end, the setting may change."""


@dataclass(frozen=True, slots=True)
class StudySettings:
    """All that shapes a study's answers; one that shaped a step which is done (`SHAPES`) does not change any more.

    `cases` are drawn by `seed`, `ballots` of them are shown to people; `test` and `validation` are shares of the
    questions that are kept out of training; `sessions` draws so many to train on (None: all), and as many at most to
    validate. `max_length` and `max_tokens` are tokens of a training session and of an answer. All else that training
    needs has Table 4's value.
    """

    base: str
    epochs: float = 2.0
    sessions: int | None = None
    cases: int = 1539  # PsyTest's
    ballots: int = 100  # section 6.3.2
    test: float = 0.02
    validation: float = 0.02
    max_length: int = 2048
    max_tokens: int = 512
    evaluations: int = 4
    checkpoint_steps: int = 200
    learning_rate: float = 1e-4
    seed: int = 1234
    system: str | None = None
    precision: Precision = "auto"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name in ("cases", "ballots", "max_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, and must be 1 or more.")
        if self.sessions is not None and self.sessions < 1:
            raise UsageError(f"sessions is {self.sessions}, and must be 1 or more.")
        if self.precision not in get_args(Precision):
            raise UsageError(f"{self.precision!r} is no precision.", hint=f"One of: {', '.join(get_args(Precision))}.")
        self.training()  # raises where a value of the training's cannot be

    def training(self) -> TrainingSettings:
        return TrainingSettings(
            base=self.base,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            seed=self.seed,
            max_length=self.max_length,
            precision=self.precision,
            limit=self.sessions,
            evaluations=self.evaluations,
            checkpoint_steps=self.checkpoint_steps,
            trust_remote_code=self.trust_remote_code,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


SMALL: Mapping[str, Any] = {
    "base": EMBEDDED_NAME,
    "epochs": 1.0,
    "sessions": 24,
    "cases": 8,
    "ballots": 8,
    "test": 0.2,
    "validation": 0.1,
    "max_length": 512,
    "max_tokens": 96,
    "evaluations": 2,
    "checkpoint_steps": 2,
}
"""Minutes on two cores; what it changes of the paper's values is size alone."""


def study_settings(preset: Preset = "small", **given: Any) -> StudySettings:
    """A preset's values, and over them those `given` that are not None. Raises `UsageError`."""
    chosen = (dict(SMALL) if preset == "small" else {}) | {k: v for k, v in given.items() if v is not None}
    if preset not in ("small", "paper"):
        raise UsageError(f"The preset {preset!r} is unknown.", hint="One of: small, paper.")
    if not chosen.get("base"):
        raise UsageError(
            "No base model is named.",
            hint="The paper's preset needs one: --base Qwen/Qwen2.5-7B-Instruct, or a folder.",
        )
    return StudySettings(**chosen)


@dataclass(frozen=True, slots=True)
class StudyWishes:
    """What may change when a study goes on. `baseline` and `tuned` are served models that answer instead of this
    process; `cosine`, `bert_score` (an encoder, with `layer`) and `also` (other systems' responses, by name) go into
    the table; `until` is the last step of this call."""

    baseline: Endpoint | None = None
    tuned: Endpoint | None = None
    cosine: bool = False
    bert_score: str | None = None
    layer: int | None = None
    also: Mapping[str, Path] | None = None
    until: StepName | None = None

    def comes_to(self, step: StepName) -> bool:
        """Whether the call goes as far as that step."""
        return self.until is None or STEPS.index(step) <= STEPS.index(self.until)
