"""What a revision's documents say that cannot be, found without any training.

Whoever publishes them chose every byte: what is of no form raises, and counts against it like what contradicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from openledger import canonical
from openledger.adapters import ADAPTER_FILES
from openledger.influence.adapter_config import AdapterConfig
from openledger.influence.index import Header, root
from services.factory import counterfactual_plan, provenance
from services.factory.audit import HALVES_INDEX, LEFT_OUT_INDEX, Audit
from services.factory.claims import Claims
from services.factory.schedule import evaluation_steps
from services.factory.write import INDEX, TRAINING


def contradictions(claims: Claims) -> list[str]:
    """In words.  Raises whatever reading raises for files that are withheld, or none."""
    found = []
    counted = Counter(who for _, who in claims.run.training if who)
    if dict(counted) != dict(claims.lineage.contributors):
        found.append("training.json lists other records of contributors than the manifest counts")
    if strangers := sorted({who for _, who in claims.run.held_out} - counted.keys()):
        found.append(f"training.json holds out records of {strangers[0]}, on none of whose it was trained")
    if claims.lineage.base.name != claims.spec.base:
        found.append("the manifest and its specification name different base models")
    found += [*_stepped(claims), *ended(claims), *_configured(claims), *_indexed(claims)]
    if claims.audit is not None:
        found += _audited(claims, claims.audit)
    elif claims.spec.trained_again:
        found.append("its specification has trainings again, and there is no audit.json of them")
    return found


def _stepped(claims: Claims) -> Iterator[str]:
    """What are no steps of these records: workers would fail on them, and who asked would be told that it is them."""
    document = canonical.parse_json(claims.training)
    batches, sizes = document["batches"], document.get("sizes") or list(map(len, document["batches"]))
    records, steps = range(len(document["records"])), range(1, len(batches) + 1)
    whole = all(type(i) is int for some in (*batches, sizes, [document["kept_step"]]) for i in some)
    taken = whole and all(i in records for members in batches for i in members)
    sized = len(sizes) == len(batches) and all(s >= max(1, len(b)) for s, b in zip(sizes, batches, strict=False))
    if not (whole and taken and sized and document["kept_step"] in steps):
        yield "training.json has steps that are none of its records"


def ended(claims: Claims) -> Iterator[str]:
    """Where the run ended and must not: each step gives another model, and one could choose which of them pays best."""
    document, spec, steps = canonical.parse_json(claims.training), claims.spec, claims.run.steps
    planned = len(document["batches"])
    if claims.lineage.metrics.get("steps", steps) != steps:
        yield "the manifest counts other steps than training.json"
    if claims.lineage.replaces is not None:
        return  # it ends where that one did (`services.factory.as_planned.replaced`)
    if spec.patience and document["held_out"]:
        evaluations = [(int(step), float(loss)) for step, loss in document["evaluations"]]
        ends = _best(spec.patience, [*sorted(evaluation_steps(spec, planned)), planned], evaluations)
    else:
        ends = planned
    if steps != ends:
        by = "no step follows from its evaluations" if ends is None else f"it is step {ends}"
        yield f"training.json ends after step {steps}; by specification {by}"


def _best(patience: int, looked_at: list[int], evaluations: list[tuple[int, float]]) -> int | None:
    """The step that a patient run keeps; None where it would have measured other losses than these."""
    losses: list[float] = []
    for step, (at, loss) in zip(looked_at, evaluations, strict=False):
        if step != at or _since_best(losses) >= patience:
            return None
        losses.append(loss)
    over = len(losses) == len(looked_at) or _since_best(losses) >= patience
    return looked_at[losses.index(min(losses))] if over and len(losses) == len(evaluations) else None


def _since_best(losses: list[float]) -> int:
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def _configured(claims: Claims) -> Iterator[str]:
    """What is served is the product of two factors times what this file says: another number is another model."""
    spec, said = claims.spec, canonical.parse_json(claims.store.get(claims.lineage.files[ADAPTER_FILES[0]]))
    layers = AdapterConfig.from_json(said).layers
    own = AdapterConfig(spec.base, spec.rank, spec.alpha, spec.target_modules, layers, spec.rslora, spec.dora)
    if not is_configured(own.to_json(), said) or len(layers) != (spec.layers or len(layers)):
        yield f"{ADAPTER_FILES[0]} is not what the specification says"


def is_configured(made: dict[str, Any], published: dict[str, Any]) -> bool:
    """Whether an `adapter_config.json` says what training gives, and nothing else.

    Switches that are off were not written by every version.
    """
    off = dict.fromkeys(("use_rslora", "use_dora"), False)
    return off | published == made


def _indexed(claims: Claims) -> Iterator[str]:
    """Rows that nobody trains for would be looked at by no comparison, and a receipt's scores are measured by."""
    index, audit = claims.index(INDEX), claims.audit
    layout, people = index.header.parameters, tuple(claims.people)
    expected = {INDEX: Header(layout, people, claims.spec.placebos)}
    if audit is not None and audit.left_out:
        expected[LEFT_OUT_INDEX] = Header(layout, people, 0)
    if audit is not None and audit.halves:
        expected[HALVES_INDEX] = Header(layout, (), len(audit.halves))
    for name, header in expected.items():
        there = claims.index(name).header
        if there.contributors != header.contributors:
            yield f"{name} has other contributors than the manifest"
        elif there.placebos != header.placebos:
            yield f"{name} has {there.placebos} further rows, by specification and audit.json {header.placebos}"
        elif there.parameters != layout:
            yield f"{name} has another layout than {INDEX}"
    if claims.shapes != {parameter.name: parameter.shape for parameter in layout}:
        yield f"{INDEX} has another layout than the adapter"
    if root(index).hex() != claims.lineage.index_root:
        yield f"the manifest's index_root is not that of its {INDEX}"


def _audited(claims: Claims, audit: Audit) -> Iterator[str]:
    spec, people = claims.spec, claims.people
    if audit.contributors != tuple(people):
        yield "audit.json has other contributors than the manifest"
    elif audit.training != claims.lineage.files[TRAINING] or audit.steps != claims.run.steps:
        yield "audit.json is of another training than the manifest's"
    masks = counterfactual_plan.draw(len(people), spec.halves, spec.seed)
    if audit.halves != tuple("".join("01"[member] for member in mask) for mask in masks.tolist()):
        yield "the halves of audit.json are not those that the specification's seed draws"
    if audit.left_out != spec.leave_one_out:
        yield "audit.json does not leave out whom the specification says"
    # They are empty where no record could be judged; versions of before there were any wrote none.
    expected = len(people) if audit.left_out and audit.judged else 0
    if len(audit.rises) != expected and (audit.rises or provenance.is_this(claims.lineage.code)):
        yield f"audit.json has {len(audit.rises)} rises of {expected} contributors who were left out"
