"""A trainer killed at any point goes on from its last checkpoint and ends with the very bytes of one never killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from services.factory.write import FILES
from tests import tiny_model

KILLS = int(os.environ.get("OPENLEDGER_TRAINER_KILLS", "20"))
EARLY = 0.25
"""How many of them come while it is getting ready; the others once it trains."""
TRAINER = """
import sys, time
from pathlib import Path
import torch
from services.factory.data import load_tokenizer, tokenise
from services.factory.train import Scratch, train
from tests.unit.services.factory.conftest import records, spec

torch.set_num_threads(1)
base, out, scratch = map(Path, sys.argv[1:4])
settings = spec(held_out=0.2, epochs=10, batch_size=4, patience=200, evaluations=20, clip_norm=1.0, weight_decay=0.05)
examples = tokenise(records(6, 6), settings, load_tokenizer(base)).examples
print("ready", flush=True)
train(settings, examples, base, out, lambda p: print(p.phase, p.step, flush=True), scratch=Scratch(scratch, 0.0))
"""


def trainer(base: Path, out: Path, scratch: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TRAINER, str(base), str(out), str(scratch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_a_trainer_killed_twenty_times_gives_the_same_bytes(tmp_path: Path) -> None:
    base = tiny_model.make(tmp_path / "base")
    undisturbed = trainer(base, tmp_path / "whole", tmp_path / "unused")
    started = time.monotonic()
    undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0
    training_seconds = time.monotonic() - started

    draw = random.Random(5)
    kills, lives, ends, resumed = 0, 0, 0, 0
    while kills < KILLS or not ends:
        process = trainer(base, tmp_path / f"killed-{ends}", tmp_path / f"scratch-{ends}")
        lives += 1
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if kills < KILLS and draw.random() < EARLY:
            time.sleep(draw.random())
        else:
            resumed += first_step(process) > 1
            time.sleep(draw.random() * training_seconds / KILLS if kills < KILLS else 0)
        if kills < KILLS and process.poll() is None:
            process.kill()
            kills += 1
        process.communicate(timeout=300)
        if process.returncode == 0:
            same(tmp_path / "whole", tmp_path / f"killed-{ends}")
            ends += 1
    assert lives == kills + ends
    assert resumed > KILLS // 4, "hardly any life went on from a checkpoint"


def first_step(process: subprocess.Popen[str]) -> int:
    """The step that its training begins with; 0 where it trains no more."""
    assert process.stdout is not None
    told = (line.split() for line in process.stdout)
    return next((int(step) for phase, step in told if phase == "training"), 0)


def same(whole: Path, killed: Path) -> None:
    for file in FILES:
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
