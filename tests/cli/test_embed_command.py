"""`smile embed`: corpora and QA sources, whom it asks without a word, and what it refuses."""

from pathlib import Path

import pytest

from smile_async.cli.flags import AskFlags
from smile_async.cli.settings import endpoints_from
from smile_async.settings import Endpoint, FileSettings
from tests.cli.conftest import ROWS, Serve, Smile, at
from tests.e2e.questions import write_jsonl

LOCAL = Endpoint(provider="local")


def test_a_run_gives_qas_and_dialogues_and_the_same_command_costs_nothing(
    smile: Smile, serve: Serve, source: Path
) -> None:
    """24 rows, 2 texts each, 10 a request: 5 requests."""
    server = serve()
    smile("generate", source, "run", *at(server))
    command = ("embed", "run", "vectors", *at(server), "--batch-size", "10", "--json")

    first, again = smile(*command), smile(*command)

    assert (first.code, again.code) == (0, 0)
    assert first.told["vectors"] == {"rows": 2 * ROWS, "columns": 256, "cut": 0}
    assert (first.told["attempts"], again.told["attempts"]) == (5, 5)
    assert "vectors    48 of 256 numbers" in first.err


def test_another_corpus_is_refused_and_added_when_it_is_meant(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    def corpus(name: str, word: str) -> Path:
        said = [{"id": str(n), "dialogue": [{"role": "client", "content": f"{word}{n}"}]} for n in range(3)]
        return write_jsonl(tmp_path / name, said)

    server, first, other = serve(), corpus("first.jsonl", "一"), corpus("other.jsonl", "二")
    asking = ("v", *at(server), "--what", "dialogue")
    smile("embed", first, *asking)

    refused, added = smile("embed", other, *asking), smile("embed", other, *asking, "--add", "--json")
    stranger = smile("compare", f"one={first}", "--vectors", "one=v")
    own = smile("compare", f"one={other}", "--vectors", "one=v")

    assert (refused.code, "of 3 texts none is among its 3" in refused.err) == (2, True)
    assert (added.code, added.told["vectors"]["rows"]) == (0, 3)  # under each id the text that was read last
    assert (stranger.code, "vectors of one are of other texts" in " ".join(stranger.err.split())) == (2, True)
    assert own.code == 0


def test_qas_that_became_no_dialogue_are_embedded_from_their_source(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()

    ended = smile("embed", source, "vectors", "--what", "qa", *at(server), "--max-characters", "5", "--json")
    refused = smile("embed", source, "other", *at(server))

    assert (ended.code, ended.told["vectors"]["rows"]) == (0, ROWS)
    assert ended.told["vectors"]["cut"] == ROWS
    assert refused.code == 2


def test_a_budget_is_held_with_prices_of_the_prompt_alone(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    """A text of 1,000 characters is at most 3 tokens each and 16 for the message, 3,016: at 1,000 USD a million 3.02
    USD, and nothing for an answer. A budget of 1 USD has no room for it."""
    corpus = write_jsonl(
        tmp_path / "c.jsonl", [{"id": str(n), "dialogue": [{"role": "client", "content": "字" * 1_000}]} for n in "ab"]
    )
    money = ("--budget", "1", "--price-in", "1000")

    ended = smile("embed", corpus, "v", *at(serve()), "--what", "dialogue", "--batch-size", "1", *money, "--json")

    assert (ended.code, ended.told["reason"]) == (4, "budget")
    assert ended.told["spend_usd"] == 0.0


@pytest.mark.parametrize(
    ("named", "provider"),
    [
        (AskFlags(), "local"),
        (AskFlags(model="ada"), "openai"),
        (AskFlags(base_url="http://h"), "openai"),  # which then wants a model
        (AskFlags(provider="local"), "local"),
    ],
)
def test_without_a_model_the_embedded_one_is_asked(named: AskFlags, provider: str) -> None:
    assert [one.provider for one in endpoints_from(FileSettings(), named, LOCAL)] == [provider]
    told = FileSettings(endpoint=(Endpoint(base_url="http://h", model="m"),))
    assert endpoints_from(told, AskFlags(), LOCAL)[0].model == "m"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("embed", "{source}", "v", "--what", "all"), "one of both, qa, dialogue"),
        (("embed", "{source}", "v", "--what", "qa", "--model", "m", "--encoding", "hex"), "one of base64, float"),
        (("embed", "{source}", "v", "--what", "qa", "--base-url", "http://127.0.0.1:9"), "No model is named"),
        (("embed", "{source}", "v", "--what", "qa", "--provider", "local", "--model", "m"), "no choice of models"),
        (("embed", "{source}", "v", "--what", "qa", "--model", "m", "--temperature", "0"), "--temperature"),
        (("embed", "absent", "v", "--model", "m"), "absent: there is no such file"),
        (("topics", "annotate", "{source}", "t", "--model", "m", "--language", "fr"), "zh or en"),
        (("topics", "absent"), "smile topics annotate CORPUS absent"),
    ],
)
def test_a_usage_error_is_2_and_says_what_is_wrong(
    smile: Smile, source: Path, arguments: tuple[str, ...], words: str
) -> None:
    ended = smile(*(part.format(source=source) for part in arguments))

    assert ended.code == 2
    assert words in ended.err
    assert not Path("v").exists()
