from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from openledger.manifest import Attribution, Base, LineageManifest, Replaces, Snapshot
from services.factory.audit import Agreement, Audit, Judged
from services.factory.evaluation import card_text
from services.factory.evaluation.card import write
from services.factory.evaluation.forgetting import not_measured
from services.factory.evaluation.held_out import HeldOut
from tests.unit.services.factory.evaluation.examples_of_reports import SECRET, nothing, report

FILES = ("adapter_config.json", "adapter_model.safetensors", "contribution_index.safetensors")


def manifest(**changes: Any) -> LineageManifest:
    fields: dict[str, Any] = {
        "adapter": "letters",
        "base": Base("smollm2-135m-instruct", "ab" * 32),
        "files": dict.fromkeys(FILES, "cd" * 32),
        "index_root": "ef" * 32,
        "snapshots": (Snapshot("datanets/letters/snapshots/7", "12" * 32),),
        "spec": {"rank": 8, "learning_rate": 0.001},
        "contributors": {"0x" + "a" * 40: 30, "0x" + "b" * 40: 10},
        "owner": "0x" + "c" * 40,
        "metrics": {},
        "code": "openledger 0.1.0",
        "licence": "CC-BY-4.0",
        "use": "commercial",
        "attributions": (Attribution("datanets/letters", "CC-BY-4.0", "Letters, by their writers"),),
        "signer": "0x" + "d" * 40,
        "signature": "0x" + "0" * 130,
    }
    return LineageManifest(**(fields | changes))


def test_the_hub_reads_its_front_matter() -> None:
    data = ModelCard(write(manifest(), report(), "HuggingFaceTB/SmolLM2-135M-Instruct")).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-4.0", "peft", "text-generation")
    assert data.datasets == ["datanets/letters"]
    assert data.metrics == ["accuracy", "perplexity"]
    assert {"lora", "openledger"} <= set(data.tags)
    assert data.model_name == "letters"
    found = [(r.dataset_type, r.dataset_split, r.metric_type, r.metric_value) for r in data.eval_results]
    assert found == [
        ("datanets/letters", "held-out", "accuracy", 0.5),
        ("datanets/letters", "held-out", "perplexity", 12.182494),
        ("chatterbot-corpus", None, "perplexity", 66.686331),
    ]
    assert data.eval_results[0].dataset_revision == "12" * 32


def test_who_takes_the_base_from_the_hub_is_told_of_weights_that_differ() -> None:
    hub_id, name = "HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct"
    same, other = (write(manifest(), report(), hub_id, another_form=form) for form in (False, True))
    for text in (same, other):
        assert f'base = "{hub_id}"' in text
    assert "another form" not in same
    assert f"python -m openledger.base_models {name}" in other
    assert "`" + "ab" * 32 + "`" in other


def test_a_base_that_is_not_on_the_hub_is_named_as_a_folder() -> None:
    text = write(manifest(), report())
    assert 'base = "path/to/smollm2-135m-instruct"' in text
    assert ModelCard(text).data.base_model is None
    assert "base_model" not in text.split("---")[1]


def test_it_says_what_it_replaces_and_without_whom() -> None:
    left_out = tuple(f"0x{number:040x}" for number in range(53))
    old = "adapters/letters/revisions/" + "0" * 64
    card = write(manifest(replaces=Replaces(old, left_out)), report())
    assert f"## Replaces\n\nIt is the run of `{old}` taken again" in card
    assert left_out[49] in card
    assert left_out[50] not in card
    assert "and 3 more" in card
    assert "## Replaces" not in write(manifest(), report())


def test_a_dora_adapter_is_called_one() -> None:
    lora = write(manifest(spec={"rank": 8, "dora": False}), report())
    dora = write(manifest(spec={"rank": 8, "dora": True}), report())
    assert "A LoRA adapter for" in lora
    assert "DoRA" not in lora
    assert "A DoRA adapter for" in dora
    assert "vLLM does not" in dora
    assert {"lora", "dora"} <= set(ModelCard(dora).data.tags)
    assert "dora" not in ModelCard(lora).data.tags


def test_it_says_what_people_ask_of_a_model() -> None:
    text = write(manifest(), report())
    for part in (
        "**Clearly better.** It is likelier to answer as it should.",
        "tuned with OpenLedger on 40 records of 2 contributors",
        f"| `0x{'a' * 40}` | 30 | 75.0 % |",
        "| token accuracy, 16 held-out records | 0.400 | 0.500 | +0.100 (+0.050 to +0.150) |",
        "| loss, 40 trivia questions (nats per token) | 4.000 | 4.200 | +0.200 (+0.100 to +0.300) |",
        "- **Warning:** It forgets.",
        "CC-BY-4.0, for commercial use.",
        "| datanets/letters | CC-BY-4.0 | Letters, by their writers |",
        "Of a corpus.",
        "shadow trajectories",
        "openledger verify",
        f"`{manifest().revision}`",
        "ef" * 32,
    ):
        assert part in text


def test_no_contributors_text_is_in_it() -> None:
    assert SECRET not in write(manifest(), report())


@pytest.mark.parametrize(
    ("expression", "fields"),
    (
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC-BY-NC-SA-4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("LicenseRef-HPO", {"license": "other", "license_name": "licenseref-hpo"}),
        ("MIT AND CC-BY-4.0", {"license": "other", "license_name": "mit-and-cc-by-4.0"}),
    ),
)
def test_licences_are_named_as_the_hub_names_them(expression: str, fields: dict[str, str]) -> None:
    data = ModelCard(write(manifest(licence=expression), None)).data.to_dict()
    assert {name: data[name] for name in ("license", "license_name") if name in data} == fields


def test_a_manifest_without_terms_says_so() -> None:
    text = write(manifest(licence="", use="", attributions=(), signer="", signature=""), report())
    assert ModelCard(text).data.license is None
    assert "The terms of use are not stated." in text


def test_nothing_measured_is_said() -> None:
    text = write(manifest(), None)
    assert ModelCard(text).data.eval_results is None
    assert "Nothing was measured before publishing." in text
    empty = report(held_out=HeldOut(nothing(), 0, 0, ()), forgetting=not_measured("no package"))
    text = write(manifest(), empty)
    assert ModelCard(text).data.eval_results is None
    assert "not measured" in text
    assert "None" not in text


def test_what_people_wrote_brings_no_markup() -> None:
    evil = "| x |\n\n# Heading <script>alert(1)</script> [a](javascript:b) ```\n---\nlicense: mit"
    attribution = Attribution(evil, evil, evil)
    text = write(manifest(base=Base(evil, "ab" * 32), licence="MIT", attributions=(attribution,)), report())
    card = ModelCard(text)
    assert card.data.base_model is None
    assert card.data.license == "mit"
    assert "<script" not in card.text
    assert "[a](java" not in card.text
    assert card.text.count("```") == 2
    assert "\n# Heading" not in card.text
    (row,) = (line for line in card.text.splitlines() if line.startswith(r"| \| x"))
    assert row.replace(r"\|", "").count("|") == 4


def test_tables_are_whole() -> None:
    lines = write(manifest(), report()).splitlines()
    for above, below in itertools.pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|")


def test_many_contributors_are_cut_short() -> None:
    crowd = {f"0x{k:040x}": 1 + k for k in range(200)}
    text = write(manifest(contributors=crowd), report())
    assert text.count("| `0x") == card_text.MOST_CONTRIBUTORS
    assert "And 150 more, in the lineage manifest." in text
    assert f"| `0x{199:040x}` | 200 |" in text


def test_it_says_how_many_records_are_an_earlier_authors() -> None:
    assert "count as theirs: 7." in write(manifest(metrics={"records_credited_to_others": 7}), report())
    assert "count as theirs" not in write(manifest(metrics={"records_credited_to_others": 0}), report())


def test_several_snapshots_of_one_datanet() -> None:
    more = (*manifest().snapshots, Snapshot("datanets/letters/snapshots/8", "34" * 32), Snapshot("odd", "56" * 32))
    data = ModelCard(write(manifest(snapshots=more), report())).data
    assert data.datasets == ["datanets/letters", "odd"]
    assert data.eval_results[0].dataset_name == "held-out records of datanets/letters/snapshots/7 and 2 more"


def test_the_front_matter_is_plain_yaml() -> None:
    _, front, _ = write(manifest(), report()).split("---\n", 2)
    assert yaml.safe_load(front)["model-index"][0]["name"] == "letters"


def test_an_audit_is_told_with_its_intervals_and_what_was_not_judged() -> None:
    agreement = (Judged("paid", Agreement(0.91, 0.8, 0.97, 8), None), Judged("shuffled", None, None))
    fields: dict[str, Any] = {"contributors": (), "left_out": True, "halves": (), "fitted": 0, "asked_halves": 0}
    audit = Audit("they *agree*", agreement, 9, 9, 1e-6, ridge=1.0, seed=0, steps=9, training="ab" * 32, **fields)
    text = write(manifest(), report(), audit=audit)
    assert r"they \*agree\*" in text
    assert "| paid: shadow trajectories | 0.91 (0.80 to 0.97), 8 models | not judged |" in text
    assert "| paid, shuffled: luck | not judged | not judged |" in text
    assert "## Audit" not in write(manifest(), report())
