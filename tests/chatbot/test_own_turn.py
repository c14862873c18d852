"""Where an answer ends whose model speaks for the client."""

import pytest

from smile_async.chatbot.own_turn import OwnTurn, own_turn

TEXTS = [
    ("Hm.\nClient: so", "Hm."),
    ("Hm.\nCounselor: so\nClient: and", "Hm."),
    ("Hm. Client: he said\nClients\nCli", "Hm. Client: he said\nClients\nCli"),
    ("\n\nClien", "\n\nClien"),
    ("a\n\n\nClient:", "a\n\n"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "own"), TEXTS)
def test_a_line_that_begins_with_a_speaker_is_no_part_of_it(text: str, own: str) -> None:
    assert own_turn(text) == own


@pytest.mark.parametrize(("text", "own"), TEXTS)
@pytest.mark.parametrize("size", [1, 2, 5, 99])
def test_however_it_is_cut_into_pieces(text: str, own: str, size: int) -> None:
    turn, shown = OwnTurn(), ""
    for place in range(0, len(text), size):
        shown += turn.feed(text[place : place + size])
        if turn.over:
            break
    assert shown + turn.end() == own
    assert turn.over == (own != text)


def test_what_cannot_become_a_label_is_shown_at_once() -> None:
    turn = OwnTurn()
    assert [turn.feed(piece) for piece in ("Hm", ".\n", "Cl", "ear")] == ["Hm", ".", "", "\nClear"]
