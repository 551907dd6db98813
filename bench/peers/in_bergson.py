"""bergson 2.5.1 (EleutherAI, MIT) in a venv of its own: the same adapter as PEFT reads it, the same tokens.

Its hard requirements torchvision, torchaudio and bitsandbytes are left out: it never imports them for this, and the
builds of torchvision that an index offers for other machines break transformers beside a torch without CUDA. What it is
asked for is in ``bergson_script``, which runs there. This module knows no methods.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench import venv
from bench.lds.study import Study
from bench.peers.arm import Arm, Failure
from openledger import base_models
from openledger.cache import cache_folder
from openledger.influence import record_scores
from services.factory import write
from services.factory.data import Example
from services.factory.training_run import TrainingRun

VERSION = "2.5.1"
LIBRARY = f"bergson {VERSION}"
PACKAGES = tuple(
    f"bergson=={VERSION} torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0 datasets==5.2.0 "
    "annotated-doc==0.0.7 anyio==4.16.0 click==8.5.1 dill==0.4.1 docstring_parser==0.18.0 filelock==4.3.1 "
    "fsspec==2026.9.0 graphviz==0.21 h11==0.16.0 hf-xet==1.8.0 httpcore2==2.16.2 httpx2==2.16.2 "
    "huggingface_hub==2.4.0 idna==3.20 jaxtyping==0.3.11 Jinja2==3.1.6 markdown-it-py==4.3.0 MarkupSafe==3.0.4 "
    "mdurl==0.1.2 ml_dtypes==0.6.0 mpmath==1.3.0 multiprocess==0.70.19 natsort==8.4.0 networkx==3.6.1 "
    "numpy==2.4.6 optree==0.20.0 packaging==26.4 pandas==3.1.1 petname==2.9 psutil==7.2.2 pyarrow==26.0.1 "
    "Pygments==2.21.0 python-dateutil==4.0.0 PyYAML==6.0.4 regex==2026.11.19 rich==15.0.0 safetensors==0.8.0 "
    "scipy==1.17.1 setuptools==84.2.1 shellingham==1.5.4 simple-parsing==0.1.9 sympy==1.14.0 "
    "tokenizers==0.23.3 torchopt==0.7.3 tqdm==4.70.1 truststore==0.10.5 typer==0.29.2 typing_extensions==4.16.0 "
    "wadler_lindig==0.1.8 xxhash==4.1.0".split()
)
SCRIPT = Path(__file__).with_name("bergson_script.py")


def arms(study: Study, theta: torch.Tensor) -> Iterator[Arm | Failure]:
    """theta: the trained adapter's weights [P]."""
    try:
        python = venv.python(cache_folder("peers") / "bergson", PACKAGES)
        with TemporaryDirectory(prefix="bergson-", dir=cache_folder("peers")) as name:
            place = Path(name)
            _lay_out(study, theta, place)
            venv.run([python, str(SCRIPT), str(place)])
            for row in json.loads((place / "rows.json").read_text()):
                yield _arm(study, row, np.load(place / row.pop("file"))) if "file" in row else Failure(LIBRARY, **row)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error)
        yield Failure(LIBRARY, "all", said.strip()[-400:])


def _lay_out(study: Study, theta: torch.Tensor, place: Path) -> None:
    base = base_models.locate(study.setting.base)
    run = TrainingRun(study.spec, study.decoder, study.training, None, trunk=study.trunk)
    run.theta.copy_(theta)
    adapter = place / "adapter"
    adapter.mkdir()
    config = run.adapter.config.to_json() | {"base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.safetensors").write_bytes(write.adapter(run.adapter))
    (place / "base.txt").write_text(str(base))
    for name, examples in (("records", study.training), ("queries", study.queries)):
        (place / f"{name}.jsonl").write_text("".join(map(_line, examples)))


def _line(example: Example) -> str:
    ids = [*example.prompt, *example.completion]
    labels = [-100] * len(example.prompt) + [*example.completion]
    return json.dumps({"input_ids": ids, "labels": labels, "length": len(ids)}) + "\n"


def _arm(study: Study, row: dict[str, object], found: np.ndarray) -> Arm:
    """found: [Q, N]."""
    people = study.setting.contributors
    scores = record_scores.by_contributor(found.astype(np.float64), study.owners, people)
    return Arm(library=LIBRARY, scores=scores, **row)  # type: ignore[arg-type]


def packages(lines: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions by name."""
    return dict(line.split("==") for line in lines)
