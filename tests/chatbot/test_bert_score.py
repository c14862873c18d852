"""BERTScore by an encoder in a folder agrees with its definition, computed here from the encoder's states."""

from pathlib import Path

import pytest

from smile_async.chatbot.metrics import bert_score
from smile_async.errors import UsageError

pytestmark = pytest.mark.e2e

SAID = ["你愿意多说一说吗", "我在这里", "听起来你很难过"]
TOLD = ["你愿意说说吗", "我在这里", ""]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights that knows the characters of these tests."""
    torch = pytest.importorskip("torch", reason="pip install 'smile-async[train]'")
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("encoder")
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set("".join(SAID + TOLD)))]
    (folder / "vocab.txt").write_text("\n".join(signs), "utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1234)
    config = BertConfig(
        vocab_size=len(signs), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    return folder


def by_definition(folder: Path, reference: str, response: str, layer: int) -> float:
    """Zhang et al. (2020): each token with the likest of the other text; F1 of the means, without [CLS] and [SEP] as
    references to be covered."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def states(text: str) -> "torch.Tensor":
        with torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        return torch.nn.functional.normalize(found, dim=-1)

    alike = states(response) @ states(reference).T
    precision, recall = alike[1:-1].max(1).values.mean(), alike[:, 1:-1].max(0).values.mean()
    return float(2 * precision * recall / (precision + recall))


def test_f1_is_that_of_the_definition_and_identical_texts_have_one(encoder: Path) -> None:
    scores = bert_score(SAID, TOLD, str(encoder))
    assert scores[0] == pytest.approx(by_definition(encoder, SAID[0], TOLD[0], layer=2), abs=1e-4)
    assert scores[1] == pytest.approx(1.0, abs=1e-5)
    assert scores[2] == 0.0


def test_another_layer_gives_another_score(encoder: Path) -> None:
    first = bert_score(SAID[:1], TOLD[:1], str(encoder), layer=1)
    assert first[0] == pytest.approx(by_definition(encoder, SAID[0], TOLD[0], layer=1), abs=1e-4)
    assert first != bert_score(SAID[:1], TOLD[:1], str(encoder))


def test_an_encoder_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be had"):
        bert_score(SAID, TOLD, str(tmp_path))
