import pytest

from smile_async.errors import RecipeError
from smile_async.prompt.grammar import dialogue_grammar
from smile_async.prompt.recipe import load_recipe


def test_the_grammar_of_two_speakers() -> None:
    grammar = dialogue_grammar(["求助者", "支持者"], 5, 6, 60, banned="A-Za-z")

    assert grammar == (
        'root ::= exchange ("\\n" exchange){4,5}\n'  # one exchange and 4 to 5 more: 5 to 6
        'exchange ::= "求助者：" say "\\n" "支持者：" say\n'
        # 4 to 60 characters: 3 to 59 of any kind, and one that may stand before an ending
        "say ::= [^\\n\\r:：A-Za-z]{3,59} [^\\n\\r:：A-Za-z，、,。！？] [。！？]\n"
    )


@pytest.mark.parametrize(
    ("low", "high", "root"),
    [
        (1, 1, "root ::= exchange"),
        (1, 3, 'root ::= exchange ("\\n" exchange){0,2}'),
        (5, 5, 'root ::= exchange ("\\n" exchange){4}'),
    ],
)
def test_exchanges_are_counted(low: int, high: int, root: str) -> None:
    assert dialogue_grammar(["A", "B"], low, high, 60).splitlines()[0] == root


def test_three_speakers_share_an_exchange() -> None:
    assert '"A：" say "\\n" "B：" say "\\n" "C：" say' in dialogue_grammar(["A", "B", "C"], 5, 5, 60)


def test_other_scripts_have_their_own_colon_and_endings() -> None:
    grammar = dialogue_grammar(["Client", "Lawyer"], 5, 5, 200, colon=": ", endings=".!?]")

    assert '"Client: " say' in grammar
    assert "[.!?\\]]" in grammar


def test_quotes_and_backslashes_in_a_label_are_escaped() -> None:
    assert '"A\\"\\\\：" say' in dialogue_grammar(['A"\\', "B"], 5, 5, 60)


@pytest.mark.parametrize(
    ("labels", "low", "high", "chars"),
    [([], 5, 6, 60), (["A"], 5, 6, 60), (["A", ""], 5, 6, 60), (["A", "B"], 0, 6, 60), (["A", "B"], 6, 5, 60),
     (["A", "B"], 5, 6, 0), (["A", "B"], 5, 6, 3)],
)  # fmt: skip
def test_numbers_and_labels_that_describe_nothing_are_refused(
    labels: list[str], low: int, high: int, chars: int
) -> None:
    with pytest.raises(RecipeError):
        dialogue_grammar(labels, low, high, chars)


def test_the_recipe_for_the_embedded_model_carries_this_grammar() -> None:
    recipe = load_recipe("smile-local")
    labels = [each[0] for each in recipe.format.roles.values()]

    assert recipe.sampling.extra["grammar"] == dialogue_grammar(
        labels, recipe.format.min_turns, 6, 50, banned="A-Za-z（）()"
    )
