"""The store of votes: later ones count, nothing is mixed up, nothing is kept twice."""

import threading
from pathlib import Path

import pytest

from smile_async.chatbot.votes import Vote, VoteStore, keep_voted, read_votes
from smile_async.errors import SourceError, StoppedError, UsageError
from tests.chatbot.study import study


def test_the_last_vote_counts_and_a_change_is_told(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite3"
    with VoteStore.open(path, study().ballots) as store:
        store.enrol(["ann", "bo"])
        for choice in ("A", "B", "B"):  # the third repeats the second, as a page does that missed the answer
            store.cast(Vote("ann", "case-0", "AB", choice))
        store.cast(Vote("bo", "case-0", "AB", "A"))
        assert [(vote.case, vote.choice) for vote in store.cast_so_far("ann")] == [("case-0", "B")]
    told = read_votes(path)
    assert {(vote.rater, vote.choice) for vote in told.votes} == {("ann", "B"), ("bo", "A")}
    assert told.raters == ("ann", "bo")
    assert told.changed == {"ann": 1}


def test_secrets_stay_the_same_and_differ_between_raters(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite3"
    with VoteStore.open(path, study().ballots) as store:
        first = store.enrol(["ann", "bo"])
    with VoteStore.open(path, study().ballots) as store:
        assert store.enrol(["bo", "ann", "cy"]).items() >= first.items()
    assert first["ann"] != first["bo"]
    assert min(map(len, first.values())) >= 32  # 24 random bytes


def test_of_several_votes_that_are_brought_the_latest_counts_whenever_it_came(tmp_path: Path) -> None:
    """An annotator who judged a task twice; and an export that is older than what was voted since."""
    twice = [Vote("ann", "case-0", "AB", "A", at=1.0), Vote("ann", "case-0", "AB", "B", at=2.0)]
    timeless = [Vote("bo", "case-0", "AB", "A"), Vote("bo", "case-0", "AB", "B")]
    with VoteStore.open(tmp_path / "votes.sqlite3", study().ballots) as store:
        assert (store.bring(twice), store.bring(twice)) == (1, 0)
        assert (store.bring(timeless), store.bring(timeless)) == (1, 0)
        assert store.bring(twice[:1]) == 0
        assert {vote.rater: vote.choice for vote in store.cast_so_far()} == {"ann": "B", "bo": "B"}


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 61])
def test_unfit_names_are_refused(tmp_path: Path, name: str) -> None:
    with VoteStore.open(tmp_path / "votes.sqlite3", study().ballots) as store, pytest.raises(UsageError):
        store.enrol([name])


def test_votes_on_other_ballots_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite3"
    with VoteStore.open(path, study().ballots) as before:
        before.enrol(["ann"])
        with VoteStore.open(path, study(seed=5).ballots) as store:  # nobody had voted
            store.cast(Vote("ann", "case-0", "AB", "A"))
        with pytest.raises(StoppedError, match="other ballots now"):
            before.cast(Vote("ann", "case-0", "AB", "B"))
    with pytest.raises(UsageError, match="other ballots"):
        VoteStore.open(path, study().ballots)


def test_what_is_no_store_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("dear reader, " * 100)
    with pytest.raises(UsageError, match="cannot be used for votes"):
        VoteStore.open(path, study().ballots)
    assert path.read_text() == "dear reader, " * 100
    with pytest.raises(SourceError, match="holds no votes"):
        read_votes(path)
    with pytest.raises(SourceError, match="no such file"):
        read_votes(tmp_path / "none.sqlite3")


def test_the_store_is_its_owners_alone_side_files_too(tmp_path: Path) -> None:
    with VoteStore.open(tmp_path / "votes.sqlite3", study().ballots) as store:
        store.enrol(["ann"])
        store.cast(Vote("ann", "case-0", "AB", "A"))
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


def test_votes_of_many_threads_all_arrive(tmp_path: Path) -> None:
    names = [f"rater-{number}" for number in range(6)]
    with VoteStore.open(tmp_path / "votes.sqlite3", study(8).ballots) as store:
        store.enrol(names)

        def work(name: str) -> None:
            for case in range(8):
                store.cast(Vote(name, f"case-{case}", "AB", "A"))

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.cast_so_far()) == 6 * 8


def test_brought_twice_is_there_once(tmp_path: Path) -> None:
    votes = [Vote("ann@example.org", "case-0", pair, pair[0], at=7.0) for pair in ("AB", "AC")]
    with VoteStore.open(tmp_path / "votes.sqlite3", study().ballots) as store:
        assert (store.bring(votes), store.bring(votes)) == (2, 0)
        assert store.bring([Vote("ann@example.org", "case-0", "AB", "B", at=8.0)]) == 1
        assert {vote.choice for vote in store.cast_so_far()} == {"A", "B"}


def test_ballots_on_which_a_page_was_opened_are_not_drawn_anew_even_before_the_first_vote(tmp_path: Path) -> None:
    """The page may still be open: what is voted there counts for the ballots that it shows."""
    path, shown = tmp_path / "votes.sqlite3", study().ballots
    keep_voted(path, "another draw")  # no page, no votes
    with VoteStore.open(path, shown) as store:
        store.enrol(["ann"])
        keep_voted(path, shown.drawn)  # the same draw gives the same ballots
        with pytest.raises(UsageError, match="no vote yet, but a voting page was opened"):
            keep_voted(path, "another draw")
        store.cast(Vote("ann", "case-0", "AB", "A"))
        with pytest.raises(UsageError, match="1 votes on ballots of another draw"):
            keep_voted(path, "another draw")
