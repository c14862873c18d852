"""Recipes: the paper's prompts word for word, slots filled once, files that name their mistakes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.dialogue.model import QAPair
from smile_async.dialogue.rules import Code
from smile_async.errors import RecipeError
from smile_async.prompt.recipe import Recipe, builtin_recipes, load_recipe
from smile_async.prompt.topics import Topic, load_topics

PAIR = QAPair(question="总失眠怎么办？", description="已经两周了。", answer="先固定起床时间。")
EXCHANGE = r'"求助者: utterance。\n支持者: utterance。" represents an exchange.'
RULES_2_TO_6 = [
    '2. Each sentence must start with "求助者: " or "支持者: ".',
    '3. The dialogue should begin with "求助者: ".',
    "4. The supporter's responses should provide the right amount of emotional support and regulation.",
    r'5. Separate each exchange with "\n".',
    (
        "6. Ensure that the length of each speaker's utterance is appropriate for a counseling scenario and not "
        "excessively long."
    ),
]
FIGURE_2 = [
    (
        "I want you to act as both a psychologist and dialogue rewriter. You should rewrite the given single-turn dialogue "
        "into a multi-turn dialogue in Chinese with 10 exchanges or more between a help-seeker and a supporter, where "
        + EXCHANGE
    ),
    "",
    "You should adhere to these requirements:",
    "1. First, you should focus on the topic of the dialogue given.",
    *RULES_2_TO_6,
    "",
    "Single-turn dialogue: {QA}",
    "",
    "Your rewritten multi-turn dialog is:",
]
GENERATE = (
    "Generate a mental health support dialogue in Chinese with 10 exchanges or more between a help-seeker and a "
    "supporter, where " + EXCHANGE
)
FIGURE_9 = [
    GENERATE,
    "",
    "You should adhere to these requirements:",
    "1. First, you should select the topic of the dialogue about mental health problems.",
    *RULES_2_TO_6,
    "",
    "The multi-turn dialogue is:",
]
FIGURE_10 = [
    GENERATE,
    "",
    "You should adhere to these requirements:",
    '1. First, the topic of the dialogue about mental health problems is "[Dialogue Topic]."',
    *RULES_2_TO_6,
    "",
    "The multi-turn dialogue is:",
]


@pytest.mark.parametrize(("name", "figure"), [("smile", FIGURE_2), ("standard", FIGURE_9), ("standardT", FIGURE_10)])
def test_the_papers_prompts_word_for_word(name: str, figure: list[str]) -> None:
    recipe = load_recipe(name)
    assert recipe.template.split("\n") == figure  # a real line break parts lines; \n within them is two characters
    assert recipe.system == ""
    assert recipe.examples == ()


@pytest.mark.parametrize("name", ["smile", "standard", "standardT"])
def test_the_papers_settings_and_rules(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.sampling.model_dump(exclude_none=True) == {
        "temperature": 1.0,
        "top_p": 1.0,
        "extra": {},
    }  # section 4.1
    assert recipe.format.min_turns == 5
    assert recipe.format.roles == {"client": ("求助者",), "counselor": ("支持者",)}
    assert recipe.format.opener is None
    off = [code for code, on in recipe.format.rules.model_dump().items() if not on]
    assert off == ["repetition", "copied-answer", "wrong-language"]


def test_smile_puts_the_pair_into_its_place() -> None:
    ((role, content),) = load_recipe("smile").render(PAIR)
    assert role == "user"
    assert content.endswith(
        "\n\nSingle-turn dialogue: 求助者: 总失眠怎么办？已经两周了。\n支持者: 先固定起床时间。\n\n"
        "Your rewritten multi-turn dialog is:"
    )


def test_standard_t_names_the_topic_with_its_definition() -> None:
    recipe = load_recipe("standardT")
    assert recipe.topics == load_topics("zh")
    ((_, content),) = recipe.render(topic=recipe.topics[14])
    assert 'mental health problems is "丧失：丧失重要他人或者宠物."' in content


def test_standard_needs_nothing() -> None:
    recipe = load_recipe("standard")
    assert recipe.render() == (("user", recipe.template),)


def test_what_a_recipe_needs_must_be_given() -> None:
    with pytest.raises(RecipeError, match="none was given"):
        load_recipe("smile").render()
    with pytest.raises(RecipeError, match="none was given"):
        load_recipe("standardT").render(PAIR)


def test_checked_asks_what_smile_asks_and_judges_more() -> None:
    smile, checked = load_recipe("smile"), load_recipe("smile-checked")
    assert checked.render(PAIR) == smile.render(PAIR)
    assert all(checked.format.rules.model_dump().values())
    assert checked.title != smile.title


def recipe_of(**fields: object) -> Recipe:
    roles = {"client": ["甲"], "counselor": ["乙"]}
    return Recipe.model_validate({"name": "mine", "template": "{QA}", "format": {"roles": roles}, **fields})


def test_an_empty_description_leaves_no_blank() -> None:
    bare = PAIR.model_copy(update={"description": ""})
    qa = "Q: {question} {description}\nA: {answer}"
    assert recipe_of(qa=qa).render(PAIR)[0][1] == "Q: 总失眠怎么办？ 已经两周了。\nA: 先固定起床时间。"
    assert recipe_of(qa=qa).render(bare)[0][1] == "Q: 总失眠怎么办？\nA: 先固定起床时间。"
    lines = "{question}\n{description}\n{answer}"
    assert recipe_of(qa=lines).render(bare)[0][1] == "总失眠怎么办？\n先固定起床时间。"


def test_braces_that_are_no_slot_are_text() -> None:
    assert recipe_of(template='{"json": {}} {qa} {QA}', qa="{answer}").render(PAIR)[0][1] == (
        '{"json": {}} {qa} 先固定起床时间。'
    )


def test_system_and_examples_come_before_the_question() -> None:
    recipe = recipe_of(
        system="关于：{question}", template="{answer}", examples=[{"user": "{answer}", "assistant": "甲: 好\n乙: 好"}]
    )
    assert recipe.render(PAIR) == (
        ("system", "关于：总失眠怎么办？"),
        ("user", "{answer}"),  # examples are word for word
        ("assistant", "甲: 好\n乙: 好"),
        ("user", "先固定起床时间。"),
    )


slots = st.sampled_from(
    ["{QA}", "{question}", "{description}", "{answer}", "{topic}", "[Dialogue Topic]", "{", "}", "\\n"]
)
written = st.lists(slots | st.text(max_size=6)).map("".join)


@given(written.filter(bool), written, written.filter(bool))
def test_what_a_pair_holds_goes_in_verbatim(question: str, description: str, answer: str) -> None:
    pair = QAPair(question=question, description=description, answer=answer)
    recipe = recipe_of(qa="<{question}|{description}|{answer}>", template="[{QA}] {answer} [end]")
    assert recipe.render(pair)[0][1] == f"[<{question}|{description}|{answer}>] {answer} [end]"


@given(written.filter(bool), written)
def test_what_a_topic_holds_goes_in_verbatim(name: str, definition: str) -> None:
    recipe = recipe_of(needs="topic", topics=["x"], template="({topic}|{topic_definition})")
    assert recipe.render(topic=Topic(index=1, name=name, definition=definition))[0][1] == f"({name}|{definition})"


def test_digests_tell_what_is_asked_from_what_is_accepted() -> None:
    smile = load_recipe("smile")
    other_rules = recipe_like(smile, format=smile.format.model_copy(update={"min_turns": 3}))
    assert other_rules.digest == smile.digest
    assert other_rules.rules_digest != smile.rules_digest
    for change in ({"version": "2"}, {"qa": "{question}{answer}"}, {"template": smile.template + " "}):
        changed = recipe_like(smile, **change)
        assert changed.digest != smile.digest
        assert changed.rules_digest == smile.rules_digest
    assert recipe_like(smile, title="another", description="text").digest == smile.digest


def recipe_like(recipe: Recipe, **fields: object) -> Recipe:
    return recipe.model_copy(update=fields)


def test_digests_are_pinned_because_runs_are_resumed_by_later_releases() -> None:
    assert {name: load_recipe(name).digest[:12] for name in ("smile", "standard", "standardT")} == {
        "smile": "89e8b25c7a75",
        "standard": "1e24d0fa6662",
        "standardT": "2aa5f4921f0d",
    }


def test_a_recipe_comes_back_from_its_json() -> None:
    recipe = load_recipe("standardT")
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'smiel'(.|\n)*smile, smile-checked") as caught:
        load_recipe("smiel")
    assert all(name in str(caught.value) for name in builtin_recipes())


def test_the_legal_example_is_a_recipe_of_ones_own() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "examples" / "recipes" / "legal.toml")
    assert list(recipe.format.roles) == ["client", "lawyer"]
    assert recipe.render(PAIR)[-1][1].endswith(
        "一问一答：\n问题：总失眠怎么办？\n已经两周了。\n答复：先固定起床时间。\n\n改写后的对话："
    )
    assert recipe.format.language == "zh"


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    file = folder / name
    file.write_text(text, "utf-8")
    return str(file)


MINE = """name = "mine"
language = "en"
template = '''
[format]
not = "a key"
{QA}'''

[sampling]
temperature = 0.5

[format.roles]
user = ["User"]
agent = ["Agent"]
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("temperature = 0.5", "temperature = 5", r"line 9, key 'sampling\.temperature': .*less than or equal to 2"),
        ("temperature", "temprature", r"line 9, key 'sampling\.temprature': Extra inputs"),
        ('name = "mine"\n', "", r"mine\.toml, key 'name': Field required"),
        ('agent = ["Agent"]', 'agent = ["Agent:"]', r"line 13, key 'format\.roles\.agent\.0'"),
        ('agent = ["Agent"]', 'agent = ["User"]', r"key 'format': label 'User' belongs to two speakers"),
        ("{QA}", "{topic}", r"uses \{topic\} while needs = 'qa'"),
        ("{QA}", "nothing", r"has no slot for it: write \{QA\}"),
        ('language = "en"', 'needs = "topic"', r"set needs = 'qa'"),
        ('language = "en"', 'qa = "{QA}"', r"qa uses \{QA\}"),
        ('language = "en"', "language = en", r"is not TOML: .*line 2"),
        ('language = "en"', 'topics = "nowhere.toml"', r"nowhere\.toml: cannot be read"),
        ("temperature = 0.5", 'extra = {model = "x"}', r"key 'sampling\.extra': 'model' does not belong"),
    ],
)
def test_a_wrong_recipe_is_named_with_file_line_and_key(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert load_recipe(write(tmp_path, MINE)).language == "en"
    assert old in MINE
    with pytest.raises(RecipeError, match=complaint):
        load_recipe(write(tmp_path, MINE.replace(old, new)))


def test_every_complaint_is_listed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, MINE.replace("0.5", "5").replace('"mine"', '""')))
    assert "key 'name'" in str(caught.value)
    assert "key 'sampling.temperature'" in str(caught.value)


def test_a_missing_file_and_a_file_of_another_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.toml: cannot be read"):
        load_recipe(tmp_path / "gone.toml")
    (tmp_path / "gbk.toml").write_bytes('name = "法律"'.encode("gbk"))
    with pytest.raises(RecipeError, match=r"gbk\.toml: is not UTF-8"):
        load_recipe(tmp_path / "gbk.toml")


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf" + MINE.encode())
    assert load_recipe(tmp_path / "bom.toml").name == "mine"


def test_a_recipe_extends_another_and_changes_two_keys(tmp_path: Path) -> None:
    text = 'extends = "smile"\nname = "cooler"\n[sampling]\ntemperature = 0.7\n[format.rules]\nrepetition = true\n'
    recipe, smile = load_recipe(write(tmp_path, text)), load_recipe("smile")
    assert (recipe.sampling.temperature, recipe.sampling.top_p) == (0.7, 1.0)
    assert recipe.template == smile.template
    assert recipe.format.rules.repetition
    assert recipe.format.rules.english_tail
    assert recipe.title == ""  # what names a recipe is not taken over


def test_other_roles_replace_those_that_are_extended_and_the_language_may_change(tmp_path: Path) -> None:
    text = 'extends = "smile"\nname = "en"\nlanguage = "en"\n[format.roles]\na = ["Seeker"]\nb = ["Helper"]\n'
    recipe = load_recipe(write(tmp_path, text))
    assert list(recipe.format.roles) == ["a", "b"]
    assert recipe.format.language == "en"


def test_paths_in_a_recipe_start_at_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", '[[topics]]\nname = "租房"\n', "own.toml")
    base = 'name = "base"\nextends = "standardT"\ntopics = "own.toml"\n'
    write(tmp_path / "base", base, "base.toml")
    recipe = load_recipe(write(tmp_path, 'name = "top"\nextends = "base/base.toml"\n'))
    assert [topic.text for topic in recipe.topics] == ["租房"]


def test_recipes_that_extend_each_other_are_a_circle(tmp_path: Path) -> None:
    write(tmp_path, 'name = "a"\nextends = "b.toml"\n', "a.toml")
    write(tmp_path, 'name = "b"\nextends = "a.toml"\n', "b.toml")
    with pytest.raises(RecipeError, match="a circle"):
        load_recipe(tmp_path / "a.toml")


def test_topics_may_be_listed_in_the_recipe(tmp_path: Path) -> None:
    text = 'name = "t"\nextends = "standardT"\ntopics = ["租房", {name = "遗嘱", definition = "谁继承。"}]\n'
    assert [topic.text for topic in load_recipe(write(tmp_path, text)).topics] == ["租房", "遗嘱：谁继承。"]


def test_every_built_in_recipe_loads_and_knows_its_name() -> None:
    for name in builtin_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.title
        assert recipe.description
    assert {"smile", "smile-checked", "standard", "standardT"} <= set(builtin_recipes())


def test_the_codes_of_a_recipes_switches_are_those_of_the_rules() -> None:
    assert {code.value for code in Code} - {"empty"} == set(load_recipe("smile").format.rules.model_dump())
