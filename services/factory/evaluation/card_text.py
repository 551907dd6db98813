"""What a model card says below its front matter, in Markdown.

Everything that people wrote (names of bases, licences, notices) is made harmless: it can neither break a table nor
bring markup.  This module judges nothing; the words of the findings are the report's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from openledger.manifest import LineageManifest
from openledger.manifest_rules import WEIGHT_ONE
from services.factory.audit import FITTED, LEFT_OUT, PAID, SHUFFLED, Agreement, Audit
from services.factory.evaluation.interval import Estimate
from services.factory.evaluation.report import EvaluationReport

MOST_CONTRIBUTORS = 50
TRAINING = ("rank", "alpha", "layers", "epochs", "batch_size", "learning_rate", "schedule", "precision", "seed")

USE = """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "{base}"
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained(base)
```"""

NOT_ON_HUB = """The base model is in a folder of its operator's: `{folder}` stands for one with the same weights
(SHA-256 of `model.safetensors`: `{sha256}`)."""

ANOTHER_FORM = """The hub's weights are another form of those that it was trained on, and answers with them differ a
little. Those it was trained on (SHA-256 of `model.safetensors`: `{sha256}`) are made, and their folder printed, by
`python -m openledger.base_models {name}`; name that folder as `base`."""

DORA = """It is weight-decomposed LoRA (DoRA): beside its direction, each row of an adapted weight has a length of its
own, `lora_magnitude_vector`. PEFT and OpenLoRA's transformers engine serve it; vLLM does not."""

ATTRIBUTION = """Every answer of this model can be traced to the contributors who shaped it. While it was trained, the
path that its weights would have taken without each contributor was tracked (*shadow trajectories*); what is left of the
difference at the end is one vector a contributor, in `contribution_index.safetensors`. An answer's score for a
contributor is the product of that vector with the gradient of the answer's loss: an estimate of how much likelier the
answer became by the contributor's data. Vectors of contributors that do not exist (placebos) measure the noise, and
what does not exceed it is not paid for. It is an estimate, checked against real retrainings, and not a proof of who
knew what first."""

AUDITED = {
    PAID: "paid: shadow trajectories",
    LEFT_OUT: "of models without each contributor",
    FITTED: "fitted to models of random halves",
    SHUFFLED: "paid, shuffled: luck",
}

VERIFY = """`openledger verify RECEIPT.json` recomputes an answer's receipt from published files, and talks to no
service. By hand:

- the revision's name ends with the SHA-256 of the lineage manifest (canonical JSON, RFC 8785);
- the manifest names the SHA-256 of every file, and the base model's;
- the Merkle root of the contribution index is `{index_root}`;
- {again}."""

AGAIN = """training again from the same snapshots and specification, with the same code and libraries on as many
  threads of the same kind of processor, gives the same files"""

SUM = """adding up the same revisions with the same weights gives the same files, on any machine"""


def body(
    manifest: LineageManifest,
    report: EvaluationReport | None,
    hub_id: str,
    audit: Audit | None = None,
    another_form: bool = False,
) -> str:
    """All of the card's text.  hub_id: of the base, or empty.  Raises ManifestError where the manifest is not valid."""
    people, records = len(manifest.contributors), sum(manifest.contributors.values())
    dora = bool(manifest.spec.get("dora"))
    kind = "DoRA" if dora else "LoRA"
    base = inline(hub_id or manifest.base.name)
    whose = "one contributor" if people == 1 else f"{people} contributors"
    parts = [
        f"# {manifest.adapter}",
        f"A {kind} adapter for {base}, tuned with OpenLedger on {records} records of {whose}.",
        *(["## Combines", _combines(manifest)] if manifest.combines else []),
        *([f"**{_capital(report.judgement.verdict)}.** {inline(report.judgement.words)}"] if report else []),
        *(["## Replaces", _replaces(manifest)] if manifest.replaces else []),
        "## Use",
        *_use(manifest, hub_id, another_form),
        *([DORA] if dora else []),
        "## Data",
        _table(("snapshot", "Merkle root"), [(inline(s.name), f"`{s.root}`") for s in manifest.snapshots]),
        "## Contributors",
        _contributors(manifest),
        "## Licence",
        _licence(manifest),
        "## Training",
        _training(manifest),
        "## Evaluation",
        _evaluation(report) if report else "Nothing was measured before publishing.",
        "## Limits",
        _limits(report),
        "## Attribution",
        ATTRIBUTION,
        *(["## Audit", _audit(audit)] if audit else []),
        "## Verify",
        _files(manifest),
        VERIFY.format(index_root=manifest.index_root, again=SUM if manifest.combines else AGAIN),
    ]
    return "\n\n".join(parts) + "\n"


def inline(text: str) -> str:
    """Untrusted text as one line of plain Markdown."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#!~$])", r"\\\1", line)


def _code(text: str) -> str:
    """Untrusted text inside a Python string in a code block."""
    return re.sub(r"[^\w./:@+-]", "_", text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _use(manifest: LineageManifest, hub_id: str, another_form: bool) -> list[str]:
    name, sha256 = _code(manifest.base.name), manifest.base.sha256
    if not hub_id:
        folder = f"path/to/{name}"
        return [USE.format(base=folder), NOT_ON_HUB.format(folder=folder, sha256=sha256)]
    use = USE.format(base=_code(hub_id))
    return [use, ANOTHER_FORM.format(name=name, sha256=sha256)] if another_form else [use]


def _replaces(manifest: LineageManifest) -> str:
    assert manifest.replaces is not None
    left_out = manifest.replaces.without
    named = ", ".join(f"`{who}`" for who in left_out[:MOST_CONTRIBUTORS])
    rest = len(left_out) - MOST_CONTRIBUTORS
    more = f" and {rest} more, in the lineage manifest" if rest > 0 else ""
    return (
        f"It is the run of `{manifest.replaces.revision}` taken again, same initialisation and batch order, with the "
        f"records of these contributors at weight 0: {named}{more}. Its contribution index is of this run."
    )


def _combines(manifest: LineageManifest) -> str:
    rows = [(f"`{parent.revision}`", f"{parent.weight_bps / WEIGHT_ONE:g}") for parent in manifest.combines]
    return (
        "What it adds to the base model's weights is the weighted sum of what these add. It was not trained itself: "
        "its contributors, and the vectors that they are paid by, are theirs.\n\n"
        + _table(("revision", "weight"), rows)
    )


def _contributors(manifest: LineageManifest) -> str:
    total = sum(manifest.contributors.values())
    order = sorted(manifest.contributors.items(), key=lambda item: (-item[1], item[0]))
    rows = [(f"`{who}`", str(count), f"{100 * count / total:.1f} %") for who, count in order[:MOST_CONTRIBUTORS]]
    more = len(order) - len(rows)
    text = "By address: who is behind one, this card does not know.\n\n"
    text += _table(("contributor", "records trained on", "of all"), rows)
    if more:
        text += f"\n\nAnd {more} more, in the lineage manifest."
    if others := manifest.metrics.get("records_credited_to_others", 0):
        text += f"\n\nRecords that read like an earlier one of somebody else's, and count as theirs: {others}."
    return text


def _licence(manifest: LineageManifest) -> str:
    if not manifest.licence:
        return "The terms of use are not stated."
    use = f", for {inline(manifest.use)} use" if manifest.use else ""
    text = f"{inline(manifest.licence)}{use}."
    if manifest.attributions:
        rows = [(inline(a.source), inline(a.licence), inline(a.notice)) for a in manifest.attributions]
        text += "\n\nTo be named beside it:\n\n" + _table(("source", "licence", "notice"), rows)
    return text


def _training(manifest: LineageManifest) -> str:
    rows = [(name.replace("_", " "), inline(str(manifest.spec[name]))) for name in TRAINING if name in manifest.spec]
    rows += [("base model", f"{inline(manifest.base.name)}, SHA-256 `{manifest.base.sha256}`")]
    return _table(("", ""), rows) + "\n\nAll of the specification is in the lineage manifest."


def _evaluation(report: EvaluationReport) -> str:
    held, trivia = report.held_out.figures, report.forgetting
    records, questions = f"{held.records} held-out records", f"{trivia.questions} trivia questions"
    rows = [
        (f"loss, {records} (nats per token)", held.loss_before, held.loss_after, held.loss_change),
        (f"token accuracy, {records}", held.accuracy_before, held.accuracy_after, held.accuracy_change),
        (f"loss, {questions} (nats per token)", trivia.loss_before, trivia.loss_after, trivia.loss_change),
    ]
    table = _table(
        ("", "base model", "this adapter", "change, 95 % interval"),
        [(name, _number(before), _number(after), _interval(change)) for name, before, after, change in rows],
    )
    findings = (trivia, report.verbatim, report.membership, report.exposure)
    lines = [f"- {'**Warning:** ' if part.warns else ''}{inline(part.words)}" for part in findings]
    notice = f"\n\n{inline(trivia.notice)}." if trivia.notice else ""
    return f"{table}\n\n" + "\n".join(lines) + notice


def _audit(audit: Audit) -> str:
    rows = [(AUDITED[one.scores], _agreement(one.leave_one_out), _agreement(one.halves)) for one in audit.agreement]
    head = ("scores", "without each contributor", "without random halves")
    return (
        f"{inline(audit.words)}\n\nRank correlation with what models say that were really trained again, with 95 % "
        f"intervals; 1 is the same order, 0 is luck:\n\n{_table(head, rows)}"
    )


def _agreement(found: Agreement | None) -> str:
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f}), {found.models} models" if found else "not judged"


def _limits(report: EvaluationReport | None) -> str:
    lines = [
        "- It is a small adapter on a general model: it can be wrong, and sounds the same when it is.",
        "- It was tuned on what its contributors wrote. Nobody promises that it is true or complete.",
        "- Held-out records are of the same contributors and snapshots: other data may fare worse.",
    ]
    if report is None:
        lines.append("- Whether it forgot, or gives away what it was trained on, was not measured.")
    return "\n".join(lines)


def _files(manifest: LineageManifest) -> str:
    rows = [(inline(name), f"`{digest}`") for name, digest in sorted(manifest.files.items())]
    return f"`{manifest.revision}`\n\n" + _table(("file", "SHA-256"), rows)


def _number(estimate: Estimate) -> str:
    return "not measured" if estimate.value is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not measured"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f}"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
