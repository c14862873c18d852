"""The losses of a training as they come: lines of JSON while it runs, a picture at its end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

PROGRESS, PICTURE = "progress.jsonl", "loss.png"


@dataclass(frozen=True, slots=True)
class Point:
    """One line of `progress.jsonl`. `step` counts optimizer steps; `loss` is the training loss since the line before,
    `eval_loss` the loss on the validation part (the mean over sessions); `seconds` are of all the work that led here,
    also before a stop."""

    step: int
    epoch: float
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None


def read_points(path: Path) -> list[Point]:
    """What a progress file holds; a torn last line is left out."""
    points = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            points.append(Point(**orjson.loads(line)))
        except (orjson.JSONDecodeError, TypeError):
            continue
    return points


def rewind(path: Path, step: int) -> None:
    """Forget what was written after `step`: from there training goes on."""
    kept = [point for point in read_points(path) if point.step <= step]
    path.write_bytes(b"".join(map(_line, kept)))


def seconds_of(points: Iterable[Point]) -> float:
    """How long the work took that led to the last of them."""
    return max((point.seconds or 0.0 for point in points), default=0.0)


def mean_loss(points: Iterable[Point]) -> float | None:
    """The training loss over all steps that the lines speak of; None without any."""
    step, total = 0, 0.0
    for point in points:
        if point.loss is not None:
            step, total = point.step, total + point.loss * (point.step - step)
    return total / step if step else None


def append(path: Path, point: Point) -> None:
    with path.open("ab") as file:
        file.write(_line(point))


def _line(point: Point) -> bytes:
    return orjson.dumps(point, option=orjson.OPT_APPEND_NEWLINE)


def draw(points: Iterable[Point], path: Path) -> None:
    """Both losses over the steps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lines: tuple[tuple[str, str, Callable[[Point], float | None]], ...] = (
        ("training", "-", lambda point: point.loss),
        ("validation", "o-", lambda point: point.eval_loss),
    )
    points = list(points)
    for name, style, value in lines:
        found = [(point.step, loss) for point in points if (loss := value(point)) is not None]
        if found:
            steps, losses = zip(*found, strict=True)
            axes.plot(steps, losses, style, label=name, markersize=4)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats a token)")
    axes.grid(visible=True, alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})


Notify = Callable[[Point, int, float | None], None]
"""Called with each point, the number of steps there will be, and the seconds that are left as far as they are known."""


def callback(path: Path, notify: Notify) -> Any:
    """A trainer's callback that writes each point and tells `notify` of it."""
    from time import monotonic

    from transformers import TrainerCallback

    began, before = monotonic(), 0.0
    first: list[tuple[int, float]] = []  # the step before the first of this process, and when it was

    class _Writer(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            nonlocal before
            before = seconds_of(read_points(path))  # what is left of an earlier stretch

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if not first:
                first.append((state.global_step, monotonic()))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            told = logs or {}
            if not state.is_world_process_zero or not ({"loss", "eval_loss"} & told.keys()):
                return
            point = Point(
                step=state.global_step,
                epoch=round(state.epoch or 0.0, 4),
                loss=told.get("loss"),
                eval_loss=told.get("eval_loss"),
                learning_rate=told.get("learning_rate"),
                seconds=round(before + monotonic() - began, 1),
            )
            append(path, point)
            notify(point, state.max_steps, _left(state.global_step, state.max_steps, first, monotonic()))

    return _Writer()


def _left(step: int, steps: int, first: list[tuple[int, float]], now: float) -> float | None:
    if not first or step <= first[0][0]:
        return None
    return (now - first[0][1]) / (step - first[0][0]) * (steps - step)
