"""From a corpus to vectors: which texts, how they are put together, and what is done where some are refused."""

import random
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from smile_async.analysis.digests import dialogue_text, qa_text, text_digest
from smile_async.analysis.embedding import (
    MISSING,
    Batching,
    _Reading,
    batches,
    corpus_texts,
    embed_corpus,
    pair_texts,
)
from smile_async.analysis.vectors import Text, load_vectors, npy_header, npy_shape
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import Dialogue, QAPair
from smile_async.engine.feed import Unreadable
from smile_async.engine.job import Failure, FailureKind, Reply, Request, Usage
from smile_async.engine.run import RunReport
from smile_async.errors import RunMismatchError, RunNotFoundError
from smile_async.options import Options
from smile_async.provider.embeddings import pack
from smile_async.settings import RetryPolicy
from smile_async.tasks import Following
from smile_async.testing import ScriptedProvider, run_virtual
from tests.engine.asking import fail

np = pytest.importorskip("numpy", reason="pip install 'smile-async[analysis]'")


def record(number: int, *, words: str = "", qa: bool = True) -> Record:
    spoken = [{"role": "client", "content": words or f"问{number}"}, {"role": "counselor", "content": f"答{number}"}]
    pair = QAPair(question=f"题{number}", description="", answer=f"复{number}") if qa else None
    return Record(f"r{number}", f"q{number}", pair, Dialogue.model_validate({"utterances": spoken}))


def code(text: str) -> list[float]:
    """A vector that names its text: the sum of its characters, and how many there are."""
    return [float(sum(map(ord, text))), float(len(text))]


def vectors(request: Request, _number: int = 0) -> Reply:
    packed = pack([array("f", code(message.content)) for message in request.messages])
    return Reply(packed, usage=Usage(request.characters, 0), model="m")


def embed(
    out: Path, records: Sequence[Record], script: Any = vectors, **more: Any
) -> tuple[RunReport, ScriptedProvider, list[str]]:
    provider, told = ScriptedProvider(script, latency=1.0), list[str]()
    seen = Following(notify=told.append, deterministic=random.Random(1))
    options = Options(retry=RetryPolicy(max_attempts=1))
    asking = embed_corpus(records, out, provider=provider, options=options, following=seen, **more)
    return run_virtual(asking), provider, told


def test_a_dialogues_text_has_no_speakers_and_a_qas_is_its_three_parts() -> None:
    assert dialogue_text(record(1).dialogue) == "问1\n答1"
    assert qa_text(QAPair(question="题", description="述", answer="复")) == "题\n述\n复"
    assert qa_text(QAPair(question="题", description="", answer="复")) == "题\n复"


def test_a_batch_ends_at_its_number_of_texts_or_characters() -> None:
    """At most 3 texts and 10 characters: 4 + 4 (the third would make 12), 4 + 1 + 1, then 11 alone, then 1."""
    lengths = [4, 4, 4, 1, 1, 11, 1]
    texts: list[Text | Unreadable] = [Text(place, str(place), "qa", "字" * n) for place, n in enumerate(lengths)]

    made = [[len(text.text) for text in batch] for batch in batches(texts, Batching(3, 10)) if isinstance(batch, tuple)]

    assert made == [[4, 4], [4, 1, 1], [11], [1]]


def test_vectors_stand_in_the_corpus_order_with_their_ids(tmp_path: Path) -> None:
    """Three records of two texts, four texts a request: two requests."""
    report, provider, _ = embed(tmp_path, [record(1), record(2), record(3)], batching=Batching(4))

    assert (report.exit_code, len(provider.asked)) == (0, 2)
    found = load_vectors(tmp_path)
    assert found.ids == ("r1", "r1", "r2", "r2", "r3", "r3")
    assert found.what == ("qa", "dialogue") * 3
    assert found.array.dtype == np.float32
    assert found.array.tolist() == [code(t) for n in "123" for t in (f"题{n}\n复{n}", f"问{n}\n答{n}")]
    assert found.of("dialogue").array.shape == (3, 2)
    assert npy_shape(tmp_path / "vectors.npy") == (6, 2)


def test_the_ledger_holds_each_vector_once(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    embed(tmp_path, [record(1)])

    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger:
        assert ledger.execute("SELECT value FROM results").fetchall() == [(b"[2,2]",)]


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    embed(tmp_path, [record(1, words="字" * 20)], what=("dialogue",), max_characters=8)

    found = load_vectors(tmp_path)
    assert (found.cut, found.array.tolist()) == ((True,), [code("字" * 8)])


def test_records_without_qa_give_their_dialogue_and_are_told(tmp_path: Path) -> None:
    report, _, told = embed(tmp_path, [record(1), record(2, qa=False)])

    assert report.exit_code == 0
    assert load_vectors(tmp_path).what == ("qa", "dialogue", "dialogue")
    assert told == ["1 records hold no QA: of them only the dialogue is embedded."]


def test_of_a_request_that_is_refused_only_the_text_to_blame_stays_without_a_vector(tmp_path: Path) -> None:
    """Four texts in one request, the third of which the filter refuses: 1 request, then 4 alone, 3 of them good."""

    def filtering(request: Request, _number: int) -> Reply | Failure:
        bad = any("坏" in message.content for message in request.messages)
        return fail(FailureKind.CONTENT_FILTER) if bad else vectors(request)

    records = [record(1), record(2), record(3, words="坏"), record(4)]
    report, provider, told = embed(tmp_path, records, filtering, what=("dialogue",))
    again, nobody, silence = embed(tmp_path, records, filtering, what=("dialogue",))

    assert load_vectors(tmp_path).ids == ("r1", "r2", "r4")
    assert [len(request.messages) for _, request in provider.asked] == [4, 1, 1, 1, 1]
    assert "4 texts were refused together" in told[0]
    assert report.counts.set_aside == again.counts.set_aside == 2  # the request of four, and the text to blame
    assert (nobody.asked, silence) == ([], [])


def test_vectors_too_few_are_no_vectors(tmp_path: Path) -> None:
    def one_short(request: Request, _number: int) -> Reply:
        return vectors(Request(request.messages[: max(len(request.messages) - 1, 1)]))

    report, _, _ = embed(tmp_path, [record(1), record(2)], one_short, what=("qa",))

    assert report.counts.reasons == {MISSING: 1}
    assert load_vectors(tmp_path).ids == ("r1", "r2")


def test_a_model_that_changes_under_way_is_told(tmp_path: Path) -> None:
    def longer_and_longer(request: Request, number: int) -> Reply:
        return Reply(pack([array("f", [1.0] * (number + 1))]))

    with pytest.raises(RunMismatchError, match="1 numbers and 2: two models answered"):
        embed(tmp_path, [record(1), record(2)], longer_and_longer, what=("qa",), batching=Batching(1))


def test_another_batching_is_another_run(tmp_path: Path) -> None:
    """Else a text would be asked twice, in two companies."""
    embed(tmp_path, [record(1)])

    with pytest.raises(RunMismatchError, match=r"batch: was \[64,100000\], now \[8,100000\]"):
        embed(tmp_path, [record(1)], batching=Batching(8))


def test_qas_that_became_no_dialogue_are_named_by_question_and_answer() -> None:
    pairs = [
        QAPair(question="题", description="", answer="甲", source_id="7", answer_index=0),
        QAPair(question="题", description="", answer="乙", source_id="7", answer_index=1),
        QAPair(question="题二", description="", answer="丙"),
    ]

    assert [text.id for text in pair_texts(pairs) if isinstance(text, Text)] == ["7", "7/1", "2"]


def test_an_empty_text_is_set_aside_with_its_row() -> None:
    blank = Record("r1", "", None, Dialogue.model_validate({"utterances": [{"role": "client", "content": " "}]}))

    [found] = corpus_texts([blank], ("dialogue",))

    assert isinstance(found, Unreadable)
    assert found.detail == "dialogue of r1: there is no text"


def test_numpy_reads_the_head_we_write() -> None:
    from io import BytesIO

    head = npy_header(2, 3)

    assert len(head) % 64 == 0
    assert np.load(BytesIO(head + bytes(24))).shape == (2, 3)


def test_a_folder_without_vectors_says_how_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="smile embed CORPUS"):
        load_vectors(tmp_path)


def test_ids_are_lines_of_json(tmp_path: Path) -> None:
    embed(tmp_path, [record(1)], what=("qa",))

    assert orjson.loads((tmp_path / "ids.jsonl").read_bytes()) == {
        "id": "r1", "what": "qa", "digest": text_digest("题1\n复1"),
    }  # fmt: skip


def test_a_dialogue_that_has_changed_gets_its_new_vector(tmp_path: Path) -> None:
    embed(tmp_path, [record(1, qa=False), record(2, qa=False)], what=("dialogue",))
    embed(tmp_path, [record(1, qa=False), record(2, words="另一句话", qa=False)], what=("dialogue",))
    found = load_vectors(tmp_path)
    assert found.ids == ("r1", "r2")
    assert found.array.tolist() == [code("问1\n答1"), code("另一句话\n答2")]


def asked_about(provider: ScriptedProvider) -> list[list[str]]:
    return [[message.content for message in request.messages] for _, request in provider.asked]


def test_a_row_more_in_the_middle_is_the_only_one_that_is_asked_about(tmp_path: Path) -> None:
    """Six dialogues, two a request: three requests; the seventh, between the first and the second, is the fourth."""
    embed(tmp_path, [record(n) for n in range(6)], what=("dialogue",), batching=Batching(2))
    grown = [record(0), record(9), *[record(n) for n in range(1, 6)]]

    report, provider, _ = embed(tmp_path, grown, what=("dialogue",), batching=Batching(2))

    assert asked_about(provider) == [["问9\n答9"]]
    found = load_vectors(tmp_path)
    assert found.ids == ("r0", "r9", "r1", "r2", "r3", "r4", "r5")
    assert found.array.tolist() == [code(f"问{n}\n答{n}") for n in (0, 9, 1, 2, 3, 4, 5)]
    assert (report.exit_code, report.counts.accepted) == (0, 4)


def test_a_text_under_another_id_is_not_asked_about_again(tmp_path: Path) -> None:
    from dataclasses import replace

    embed(tmp_path, [record(1)])

    _, provider, _ = embed(tmp_path, [replace(record(1), row_id="other"), replace(record(1), row_id="third")])

    assert provider.asked == []
    assert load_vectors(tmp_path).ids == ("other", "other", "third", "third", "r1", "r1")


def test_a_text_that_is_again_what_it_was_has_its_first_vector(tmp_path: Path) -> None:
    first, changed = record(1, qa=False), record(1, words="另一句话", qa=False)
    others = [record(2, qa=False)]
    for one in (first, changed):
        embed(tmp_path, [one, *others], what=("dialogue",))

    _, provider, _ = embed(tmp_path, [first, *others], what=("dialogue",))

    assert provider.asked == []
    assert load_vectors(tmp_path).array.tolist() == [code("问1\n答1"), code("问2\n答2")]


def test_two_records_of_one_id_have_a_vector_each_told_apart_by_their_digests(tmp_path: Path) -> None:
    from dataclasses import replace

    embed(tmp_path, [record(1, qa=False), replace(record(2, qa=False), row_id="r1")], what=("dialogue",))

    found = load_vectors(tmp_path)
    assert found.ids == ("r1", "r1")
    assert found.digests == (text_digest("问1\n答1"), text_digest("问2\n答2"))


def test_another_corpus_is_refused_before_anything_is_asked_and_a_tenth_in_common_is_enough(tmp_path: Path) -> None:
    from smile_async.kinship import OtherSourceError

    embed(tmp_path, [record(n, qa=False) for n in range(20)], what=("dialogue",))
    strangers = [record(n, words=f"别的{n}", qa=False) for n in range(20)]  # under the same ids

    with pytest.raises(OtherSourceError, match="of 20 texts none is among its 20") as refused:
        embed(tmp_path, strangers, what=("dialogue",))

    assert "--add" in refused.value.hint
    assert len(load_vectors(tmp_path).ids) == 20
    mixed = [record(0, qa=False), record(1, qa=False), *strangers[2:]]  # 2 of 20 are the run's own: a tenth
    embed(tmp_path, mixed, what=("dialogue",))
    assert load_vectors(tmp_path).digests[2] == text_digest("别的2\n答2")


def test_what_another_process_asked_between_the_look_and_the_run_is_not_asked_again(tmp_path: Path) -> None:
    embed(tmp_path, [record(0), record(1)], what=("dialogue",))
    reading = _Reading(lambda: corpus_texts([record(0), record(9), record(7)], ("dialogue",)), tmp_path)
    reading.look(kin=True)
    embed(tmp_path, [record(0), record(1), record(9)], what=("dialogue",))

    assert [text.id for text in reading.new() if isinstance(text, Text)] == ["r7"]
