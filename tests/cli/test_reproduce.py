"""smile reproduce: what is refused before anybody is asked, and what its folder is good for."""

from pathlib import Path

import pytest

from smile_async.analysis.study import Asked
from smile_async.cli.flags import AskFlags, LimitFlags
from smile_async.cli.reproduce import beside
from smile_async.options import Options
from smile_async.settings import Endpoint, Limits, Prices
from tests.analysis.studying import Studying
from tests.cli.conftest import Smile

pytest.importorskip("numpy", reason="pip install 'smile-async[analysis]'")
pytest.importorskip("matplotlib", reason="pip install 'smile-async[analysis]'")

AT = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "name a source of QAs"),
        (("--preset", "tiny"), "'tiny': paper or small"),
        (("--preset", "small", "--recipe", "smile"), "'smile' is not METHOD=RECIPE"),
        (("--preset", "small", "--tokenizer", "no-such"), "There is no tokenizer 'no-such'"),
        (("--preset", "small", *AT, "--budget", "1"), "A budget needs prices."),
        (
            ("--preset", "small", *AT, "--budget", "1", "--price-in", "1", "--topics-model", "t"),
            "those of the topics are not known",
        ),
        (("--preset", "small", "--embed-config", "no.toml"), "no.toml: cannot be read"),
        (("--preset", "small", "-n", "13", *AT), "12 distinct questions, fewer than 13"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(smile: Smile, tmp_path: Path, flags: tuple[str, ...], told: str) -> None:
    ended = smile("reproduce", str(tmp_path / "out"), *flags)
    assert ended.code == 2, ended.err
    assert told in ended.err
    assert not list(tmp_path.glob("out/*/ledger.sqlite3"))
    assert not list(tmp_path.glob("out/study.json")), "the next call may be another study's"


def test_a_budget_in_the_settings_file_is_one_for_all_steps(smile: Smile, tmp_path: Path) -> None:
    """It holds for the topics, too, whose prices are not known: as --budget, it is refused before anybody is asked."""
    (tmp_path / "smile.toml").write_text("[limits]\nbudget_usd = 1.0\n[prices]\ninput = 1.0\n")
    config = ("--config", str(tmp_path / "smile.toml"))
    ended = smile("reproduce", str(tmp_path / "out"), "--preset", "small", *AT, *config, "--topics-model", "t")
    assert ended.code == 2
    assert "those of the topics are not known" in ended.err


def test_another_model_is_asked_at_the_server_of_the_dialogues_under_limits_of_its_own(tmp_path: Path) -> None:
    own = Endpoint(base_url="http://there/v1", model="m", api_key_env="K", prices=Prices(input=1), name="first")
    chat = Asked([own], Options(limits=Limits(tokens_per_minute=9)))

    same = beside(chat, None, AskFlags(model="t"), LimitFlags(tpm=5))
    elsewhere = beside(chat, None, AskFlags(model="t", base_url="http://other/v1"), LimitFlags())
    (tmp_path / "t.toml").write_text('[endpoint]\nbase_url = "http://third/v1"\nmodel = "t3"\n[prices]\ninput = 2.0\n')
    by_file = beside(chat, tmp_path / "t.toml", AskFlags(), LimitFlags())

    assert same.provider == [Endpoint(base_url="http://there/v1", model="t", api_key_env="K")]
    assert same.options.limits.tokens_per_minute == 5
    assert not same.priced
    assert elsewhere.provider == [Endpoint(base_url="http://other/v1", model="t")]
    assert by_file.provider == [Endpoint(base_url="http://third/v1", model="t3")]
    assert by_file.priced


def test_compare_takes_the_folder_and_sets_beside_it(smile: Smile, tmp_path: Path) -> None:
    studying = Studying(tmp_path)
    studying.go()

    ended = smile("compare", str(studying.out), f"mine={studying.out / 'smile'}", "--json")

    assert ended.code == 0, ended.err
    sets = {one["name"]: one for one in ended.told["sets"]}
    assert list(sets) == ["psyqa", "standard", "standardT", "smile", "mine"]
    assert sets["mine"]["lexical"] == sets["smile"]["lexical"]
    assert [name for name, one in sets.items() if "own" in one] == ["smile"]
    assert [name for name, one in sets.items() if "pairs" in one] == ["psyqa", "standard", "standardT", "smile"]
