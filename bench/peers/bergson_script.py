"""Runs in bergson's venv: its own pipelines on an adapter's folder and two files of tokens.

    python bergson_script.py FOLDER     adapter/, base.txt, records.jsonl, queries.jsonl; writes rows.json and scores

Each method is asked for as its documentation does: an index of gradients and ``Attributor`` over it (Grad-Dot and
Grad-Cos; TrackStar: 16 x 16 numbers a map, both sides times the records' second moments to the power -1/2, cosine), and
the ``ekfac`` pipeline. It imports nothing of OpenLedger, and nothing of OpenLedger imports it.
"""

import json
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from bergson import Attributor, DataConfig, IndexConfig, PreprocessConfig, QuerySetConfig, ScoreConfig
from bergson.build import build
from bergson.config.config import HessianConfig, HessianPipelineConfig
from bergson.data import column_offsets, load_gradients, load_scores
from bergson.hessians.hessian_approximations import approximate_hessians
from bergson.hessians.pipeline import hessian_pipeline
from bergson.utils.worker_utils import setup_model_and_peft

PROJECTION = 16
"""bergson's own default for TrackStar."""
PLACE = Path(sys.argv[1])


class Measured:
    """CPU seconds, and peak memory beyond what was resident before, in MiB."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self.before, self.begun = resident("VmRSS"), time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds, self.megabytes = time.process_time() - self.begun, resident("VmHWM") - self.before


def resident(which):
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == which + ":")


def config(run, data, projection=0):
    return IndexConfig(
        run_path=str(PLACE / run),
        model=str(PLACE / "adapter"),
        tokenizer=(PLACE / "base.txt").read_text(),
        data=DataConfig(dataset=str(PLACE / f"{data}.jsonl")),
        projection_dim=projection,
        loss_reduction="mean",
        token_batch_size=1024,
    )


def stored(index):
    return sum(file.stat().st_size for file in (PLACE / index).rglob("gradients.bin"))


def by_place(found):
    """Scores in the records' order: [Q, N]."""
    scores, indices = (np.asarray(each) for each in found)
    ordered = np.empty_like(scores)
    np.put_along_axis(ordered, indices, scores, axis=1)
    return ordered


def one_answer(model, modules, attributor):
    """Trace the first query as `bergson query` does: one pass with hooks, and the search."""
    query = json.loads((PLACE / "queries.jsonl").read_text().splitlines()[0])
    ids, labels = torch.tensor([query["input_ids"]]), torch.tensor([query["labels"]])
    with Measured() as cost, attributor.trace(model.base_model, None, modules=modules):
        logits = model(ids).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).backward()
        model.zero_grad()
    return cost


def row(method, scores, prepared, answered, kept, grows_with="records", note=""):
    file = f"scores-{method}.npy"
    np.save(PLACE / file, scores)
    return {
        "method": method,
        "file": file,
        "prepare_seconds": sum(each.seconds for each in prepared),
        "answer_seconds": answered.seconds,
        "megabytes": max(each.megabytes for each in [*prepared, answered]),
        "kept": kept,
        "grows_with": grows_with,
        "note": note,
    }


def of_an_index(model, modules):
    """Grad-Dot and Grad-Cos on the whole gradients."""
    with Measured() as building:
        build(config("index", "records"), PreprocessConfig())
    build(config("queries", "queries"), PreprocessConfig())
    for method, unit_norm in (("Grad-Dot", False), ("Grad-Cos", True)):
        with Measured() as opening:
            attributor = Attributor(PLACE / "index", unit_norm=unit_norm)
        answering = one_answer(model, modules, attributor)
        scores = by_place(attributor.search(query_gradients("queries"), None))
        yield row(method, scores, [building, opening], answering, stored("index"))


def query_gradients(index):
    whole = np.asarray(load_gradients(PLACE / index), dtype=np.float32)
    sizes = json.loads((PLACE / index / "info.json").read_text())["grad_sizes"]
    return {name: torch.tensor(whole[:, low:high]) for name, (low, high) in column_offsets(sizes).items()}


def trackstar(model, modules):
    """Second moments of the records alone: what will be asked is not known beforehand."""
    with Measured() as fitting:
        approximate_hessians(config("moments", "records", PROJECTION), HessianConfig(method="autocorrelation"))
    with Measured() as building:
        build(config("projected", "records", PROJECTION), PreprocessConfig())
    build(config("projected-queries", "queries", PROJECTION), PreprocessConfig())
    with Measured() as opening:
        attributor = Attributor(PLACE / "projected", unit_norm=True, hessian_path=PLACE / "moments")
    answering = one_answer(model, modules, attributor)
    scores = by_place(attributor.search(query_gradients("projected-queries"), None))
    note = f"{PROJECTION} x {PROJECTION} numbers a map, without the optimizer's moments"
    yield row("TrackStar", scores, [fitting, building, opening], answering, stored("projected"), note=note)


def ekfac(*_):
    hessian = HessianConfig(method="kfac", ev_correction=True)
    with Measured() as fitting:
        approximate_hessians(config("ekfac/hessian/kfac", "records"), hessian)
    queries = QuerySetConfig(dataset=str(PLACE / "queries.jsonl"), path=str(PLACE / "queries"))
    with Measured() as answering:
        asked = HessianPipelineConfig(query=queries, resume=True)
        hessian_pipeline(config("ekfac", "records"), hessian, ScoreConfig(), PreprocessConfig(), asked)
    scores = np.asarray(load_scores(PLACE / "ekfac" / "scores")[:], dtype=np.float32).T
    needed = ("eigen_activation_sharded", "eigen_gradient_sharded", "eigenvalue_correction_sharded")
    kept = sum(
        file.stat().st_size for name in needed for file in (PLACE / "ekfac/hessian/kfac" / name).glob("*.safetensors")
    )
    note = "an answer's seconds are of all answers at once: the gradients of all records are taken again"
    yield row("EK-FAC", scores, [fitting], answering, kept, "nothing", note)


def main():
    torch.set_num_threads(1)
    model, modules = setup_model_and_peft(config("unused", "records"))
    rows = []
    for work in (of_an_index, trackstar, ekfac):
        try:
            rows.extend(work(model, modules))
        except Exception as error:  # noqa: BLE001  whatever a library raises is the result
            traceback.print_exc()
            rows.append({"method": work.__name__, "error": f"{type(error).__name__}: {error}"[:400]})
    (PLACE / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
