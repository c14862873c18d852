"""A small study: cases, three systems, and votes as a test wants them."""

from collections.abc import Iterable, Mapping

from smile_async.chatbot.ballots import Case, Draw, Message, draw
from smile_async.chatbot.votes import Cast, Vote

SYSTEMS = ("golden", "baseline", "tuned")


def cases(count: int) -> list[Case]:
    return [
        Case(
            id=f"case-{number}",
            messages=(
                Message(role="system", content="SYSTEM-PROMPT"),
                Message(role="user", content=f"我第{number}次来。"),
                Message(role="assistant", content="请说。"),
                Message(role="user", content="我睡不好。"),
            ),
            reference=f"嗯，我在听。{number}",
        )
        for number in range(count)
    ]


def responses(of: Iterable[Case], systems: Iterable[str] = SYSTEMS) -> dict[str, dict[str, str]]:
    """No response names its system: a test searches ballots for the names."""
    there = list(of)
    return {
        system: {case.id: f"回复{place}，{case.id}" for case in there} for place, system in enumerate(systems, start=1)
    }


def study(count: int = 4, *, seed: int = 0, ties: bool = False, systems: Iterable[str] = SYSTEMS) -> Draw:
    there = cases(count)
    return draw(there, responses(there, systems), count=count, seed=seed, ties=ties)


def prefer(drawn: Draw, rater: str, case: str, ranking: Mapping[str, int]) -> list[Vote]:
    """A vote on each pair of a case: for the system of the higher rank; equal ranks are a tie."""
    places, votes = drawn.key.places[case], []
    for pair in drawn.ballots.pairs:
        first, second = (ranking[places[letter]] for letter in pair)
        choice = "tie" if first == second else pair[0] if first > second else pair[1]
        votes.append(Vote(rater, case, pair, choice, at=1.0))
    return votes


def cast(drawn: Draw, votes: Iterable[Vote]) -> Cast:
    given = tuple(votes)
    return Cast(drawn.ballots.drawn, tuple(sorted({vote.rater for vote in given})), given, {})
