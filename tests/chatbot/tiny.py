"""A causal model of 100,000 random weights with a tokenizer built here, as a Hugging Face folder and as a GGUF file."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

LAYERS, HIDDEN, HEADS, VOCABULARY, CONTEXT = 2, 64, 4, 320, 4096
END = "<|endoftext|>"


def require(*modules: str, extra: str) -> None:
    """Skips where an extra is not installed; in CI that is a failure."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        message = f"needs {' and '.join(missing)}: pip install 'smile-async[{extra}]'"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)


def tokenizer() -> Any:
    """Byte-level BPE: every text has tokens, few of them have more than a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(["我最近睡不好", "Client: Counselor: 愿意多说一些吗？"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


def save_model(folder: Path, *, seed: int = 0) -> Path:
    """As a folder that transformers loads."""
    from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

    tokens = tokenizer()
    set_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokens),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokens.eos_token_id,
        tie_word_embeddings=True,
        initializer_range=0.2,  # so large that an adapter can choose among the frozen embeddings
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_gguf(folder: Path, path: Path) -> Path:
    """The model of `folder` (from `save_model`) as GGUF."""
    import json

    import gguf
    from safetensors.numpy import load_file

    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.CONTROL if one == END else gguf.TokenType.NORMAL) for one in tokens])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_eos_token_id(model["vocab"][END])
    writer.add_add_bos_token(value=False)
    for name, tensor in load_file(folder / "model.safetensors").items():
        writer.add_tensor(_gguf_name(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        number, _, inner = stem.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{_NAMES[inner]}.{kind}"
    return f"{_NAMES[stem]}.{kind}"
