"""Tokens a second of a fine-tune that learns who moved the weights, against loops that do not.

    python -m bench train            the product's default and cheaper curvature, a plain PEFT loop, TRL's SFTTrainer
    python -m bench train --quick    one round of fewer steps, under a minute or two, the same code

All train the same LoRA on the same records in the same batches, on the same threads, in float32; ours and the plain
loop also in bfloat16 (autocast) where this processor has instructions for it. Each arm is a process of its own, so that
its peak memory is its own; arms take turns, round by round, and a figure is a ratio of medians. The clock runs from
tokenised records and a loaded model to trained weights, and for ours to the quantised contribution index. TRL's arm
takes its own collator and loop, with its order of records switched off. One more arm sketches the records of what ours
has trained, as the Factory does then.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench import result
from services.factory.passes import fastest_precision, products_in

ROUNDS, QUICK_ROUNDS = 3, 1
PLAIN, TRL, SKETCHES = "plain PEFT loop", "TRL SFTTrainer", "sketches"
CURVATURE = {
    "ours": (4, 1.0),
    "ours, 2 samples": (2, 1.0),
    "ours, 1 sample": (1, 1.0),
    "ours, 1 sample of half": (1, 0.5),
}
"""Samples a record and share of records that each of our arms estimates curvature from."""
ARMS = [*CURVATURE, PLAIN, TRL, SKETCHES]
BFLOAT16 = ", bfloat16"


def main(*, quick: bool) -> None:
    """Measure; writes bench/results/train.json, or train-quick.json."""
    arms = ARMS + [arm + BFLOAT16 for arm in ("ours", PLAIN) if fastest_precision() == "bfloat16"]
    measured: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    rounds = QUICK_ROUNDS if quick else ROUNDS
    for _ in range(rounds):
        for arm in arms:
            measured[arm].append(_in_its_own_process(arm, quick=quick))
            print(f"{arm}: {measured[arm][-1]}", file=sys.stderr, flush=True)
    rows = [
        {"arm": arm} | {key: statistics.median(one[key] for one in taken) for key in taken[0]}
        for arm, taken in measured.items()
    ]
    settings = {"quick": quick, "rounds": rounds, "setting": vars(_setting(quick=quick))}
    print(result.write("train-quick" if quick else "train", figures(rows), seed=0, settings=settings, rows=rows))


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ratios of tokens a second, and peak memory in GiB."""
    rate = {row["arm"]: row["tokens_per_s"] for row in rows}
    memory = {row["arm"]: row["peak_memory_gb"] for row in rows}
    found = {"vs_" + _key(arm): rate[arm] / rate[PLAIN] for arm in CURVATURE}
    found["vs_trl"] = rate["ours"] / rate[TRL]
    found["sketching_of_training"] = rate["ours"] / rate[SKETCHES]
    if "ours" + BFLOAT16 in rate:
        found["vs_peft_bfloat16"] = rate["ours" + BFLOAT16] / rate[PLAIN + BFLOAT16]
    found |= {"peak_memory_gb": memory["ours"], "peak_memory_gb_peft": memory[PLAIN], "peak_memory_gb_trl": memory[TRL]}
    return {key: round(value, 3) for key, value in found.items()}


def _key(arm: str) -> str:
    return arm.replace("ours, ", "peft_").replace("ours", "peft").replace(" ", "_")


def _setting(*, quick: bool) -> Any:
    from bench.lds.study import Setting

    few = {"epochs": 1, "contributors": 8} if quick else {}
    return Setting("train", records=4, **few)


def _in_its_own_process(arm: str, *, quick: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.train", arm, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(arm: str, *, quick: bool) -> dict[str, float]:
    """One arm in this process: tokens a second, loss of the last step in nats, and peak memory."""
    from bench.lds.study import Study

    name, precision = arm.removesuffix(BFLOAT16), "bfloat16" if arm.endswith(BFLOAT16) else "float32"
    samples, share = CURVATURE.get(name, (1, 1.0))
    study = Study(_setting(quick=quick), curvature_samples=samples, curvature_share=share, precision=precision)
    prepare = {PLAIN: _plain, TRL: _trl, SKETCHES: _sketches}.get(name, _ours)
    train = prepare(study)
    begun = time.perf_counter()
    loss = train()
    seconds = time.perf_counter() - begun
    tokens = sum(example.length for example in study.training) * study.spec.epochs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    return {"tokens_per_s": tokens / seconds, "seconds": seconds, "last_loss": loss, "peak_memory_gb": peak}


def _ours(study: Any) -> Callable[[], float]:
    from openledger.influence.index import root
    from services.factory.training_run import TrainingRun
    from services.factory.write import contribution_index

    run = TrainingRun(study.spec, study.decoder, study.training)

    def train() -> float:
        run.trunk.prepare(study.training, study.spec.precision, lambda _: None)
        with run.attached():
            while run.done < len(run.plan):
                run.step()
        root(contribution_index(run))
        return run.history.losses[-1]

    return train


def _sketches(study: Any) -> Callable[[], float]:
    """Of the records, after a training whose time is not counted."""
    import tempfile
    from pathlib import Path

    from services.factory import sketches
    from services.factory.training_run import TrainingRun

    run = TrainingRun(study.spec, study.decoder, study.training)
    run.trunk.prepare(study.training, study.spec.precision, lambda _: None)
    with run.attached():
        while run.done < len(run.plan):
            run.step()
    end = sketches.End(study.decoder, run.adapter, run.shadows.second_moment().numpy(), study.training)

    def sketch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            sketches.write(Path(folder) / "file", end, "ab" * 32, Path(folder) / "rows", lambda *_: None)
        return run.history.losses[-1]

    return sketch


def _plain(study: Any) -> Callable[[], float]:
    """What one writes with PEFT and transformers: padded batches, the completion's labels, torch's AdamW."""
    import torch

    from services.factory.schedule import batches, learning_rate

    model = _peft_model(study)
    spec, plan = study.spec, batches(study.spec, len(study.training))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=spec.learning_rate, betas=(0.9, 0.95), weight_decay=spec.weight_decay)

    def train() -> float:
        for step, members in enumerate(plan):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(spec, step, len(plan))
            with products_in(spec.precision):
                loss = model(**_padded([study.training[i] for i in members])).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return train


def _trl(study: Any) -> Callable[[], float]:
    """TRL's SFTTrainer on the same records, handed over in the order in which ours takes them."""
    import tempfile

    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    from services.factory.schedule import batches

    order = [study.training[i] for members in batches(study.spec, len(study.training)) for i in members]
    rows = [
        {"input_ids": [*e.prompt, *e.completion], "completion_mask": [0] * len(e.prompt) + [1] * len(e.completion)}
        for e in order
    ]

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    options = SFTConfig(
        output_dir=tempfile.gettempdir(),
        per_device_train_batch_size=study.spec.batch_size,
        num_train_epochs=1,  # the rows hold all epochs
        learning_rate=study.spec.learning_rate,
        adam_beta2=0.95,
        lr_scheduler_type="cosine",
        warmup_steps=study.spec.warm_up,
        max_grad_norm=0.0,
        completion_only_loss=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = InOrder(
        model=_peft_model(study),
        args=options,
        train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(study),
    )
    return lambda: float(trainer.train().training_loss)


def _peft_model(study: Any) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from openledger import base_models

    spec = study.spec
    model = AutoModelForCausalLM.from_pretrained(base_models.locate(spec.base), dtype=torch.float32)
    layers = range(model.config.num_hidden_layers - spec.layers, model.config.num_hidden_layers)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules=list(spec.target_modules),
        layers_to_transform=list(layers),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config).train()


def _tokenizer(study: Any) -> Any:
    from openledger import base_models
    from services.factory.data import load_tokenizer

    return load_tokenizer(base_models.locate(study.spec.base))


def _padded(examples: Any) -> dict[str, Any]:
    """Token ids, mask and labels [b, T], padded on the right; labels are the completion's alone."""
    import torch

    longest = max(e.length for e in examples)
    ids, mask = torch.zeros(2, len(examples), longest, dtype=torch.int64)
    labels = torch.full((len(examples), longest), -100)
    for row, e in enumerate(examples):
        ids[row, : e.length] = torch.tensor([*e.prompt, *e.completion])
        mask[row, : e.length] = 1
        labels[row, len(e.prompt) : e.length] = torch.tensor(e.completion)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One arm; prints what was measured as JSON.")
    parser.add_argument("arm", choices=ARMS + [arm + BFLOAT16 for arm in ARMS])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.arm, quick=asked.quick)))
