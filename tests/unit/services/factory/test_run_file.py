from __future__ import annotations

from dataclasses import replace

import grpc
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.factory.licence import Use
from services.factory.run import Replacement, Run, RunError, SnapshotPin
from services.factory.run_file import RunFileError, dump, load
from services.factory.spec import RULES, FineTuneSpec
from services.factory.translate_run import run_from, spec_to
from services.kit.errors import Fault

ROOT = "0" * 63 + "1"
RUN = Run(
    adapter="letters",
    snapshots=(SnapshotPin("datanets/letters/snapshots/1", ROOT), SnapshotPin("datanets/a/snapshots/12", "ab" * 32)),
    spec=FineTuneSpec(
        base="tiny",
        learning_rate=1e-5,
        targets=("q_proj", "v_proj"),
        leave_one_out=True,
        prompt_template='What is\n  {name}? \U0001f600 # no comment: "{thing}"',
        completion_template="{yes}",
    ),
    use=Use.NON_COMMERCIAL,
    base_sha256="1" * 64,
)
SHORT = """
version: openledger.run.v1
adapter: letters
base: {name: tiny}
snapshots: [{name: datanets/letters/snapshots/1}]
training:
  learning_rate: 1e-3
"""


def test_a_run_comes_back_from_its_file() -> None:
    assert load(dump(RUN)) == RUN
    assert dump(load(dump(RUN))) == dump(RUN)


def test_a_file_holds_every_field_so_that_a_new_default_changes_no_old_run() -> None:
    for field in FineTuneSpec().to_json():
        assert f"{field}:" in dump(RUN) or field == "base"


def test_what_is_left_out_takes_the_default() -> None:
    run = load(SHORT)
    assert run.spec == FineTuneSpec(base="tiny", learning_rate=1e-3)
    assert (run.use, run.base_sha256, run.snapshots) == (
        Use.COMMERCIAL,
        "",
        (SnapshotPin("datanets/letters/snapshots/1"),),
    )


def test_the_order_of_snapshots_makes_no_other_run() -> None:
    assert replace(RUN, snapshots=RUN.snapshots[::-1]) == RUN


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    (
        ("openledger.run.v1", "openledger.run.v2", "version"),
        ("adapter: letters", "adapter: Letters!", "adapter"),
        ("adapter: letters", "adapter: no", "adapter must be a text"),
        ("adapter: letters", "adapter: letters\nadapter: numbers", "line 4: adapter is given twice"),
        ("adapter: letters", "adapter: letters\ncolour: red", "unknown fields: colour"),
        ("adapter: letters", "adapter: letters\nuse: military", "use must be commercial or non-commercial"),
        ("{name: tiny}", "tiny", "base must be a table"),
        ("{name: tiny}", "{name: 7}", "base.name"),
        ("{name: tiny}", "{name: tiny, sha256: abc}", "base.sha256"),
        ("{name: tiny}", "{name: tiny, size: 7}", "base has unknown fields: size"),
        ("{name: datanets/letters/snapshots/1}", "", "snapshots must be 1 to 16"),
        ("{name: datanets/letters/snapshots/1}", "datanets/letters/snapshots/1", "snapshots must be a list of tables"),
        ("{name: datanets/letters/snapshots/1}", "{name: letters}", "snapshots: 'letters' is not a name"),
        ("snapshots/1}", "snapshots/1, root: 12}", "snapshots.root"),
        ("snapshots/1}", "snapshots/1}, {name: datanets/letters/snapshots/1}", "twice"),
        ("learning_rate: 1e-3", "learning_rate: fast", "training.learning_rate must be a number"),
        ("learning_rate: 1e-3", "rank: 1000", "training.rank must be a whole number from 1 to 512"),
        ("learning_rate: 1e-3", "base: tiny", "training has no base"),
        ("learning_rate: 1e-3", "? [a]\n  : 1", "a key must be a plain word"),
        ("learning_rate: 1e-3", "seed: &x 1", "references"),
        ("learning_rate: 1e-3", "seed: !!python/object/apply:os.getcwd []", "named types"),
        ("learning_rate: 1e-3", "seed: 2026-13-99", "training.seed|not YAML"),
        ("training:\n  learning_rate: 1e-3", "training: " + "[" * 100_000, "nested too deeply"),
        ("training:\n  learning_rate: 1e-3", "training: " + "x" * 300_000, "more than 262144 bytes"),
    ),
)
def test_a_mistake_is_named(old: str, new: str, reason: str) -> None:
    assert old in SHORT
    with pytest.raises(RunFileError, match=reason):
        load(SHORT.replace(old, new))


@pytest.mark.parametrize("text", ("", "[]", "just a text", "a: [", "\x00", "--- 1\n--- 2\n", "a: \ud800"))
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(RunFileError):
        load(text)


@given(st.text(max_size=200))
def test_no_text_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(RunFileError):
        load(SHORT + text + "\n- x")


@pytest.mark.parametrize("changes", ({"snapshots": ()}, {"adapter": "a"}, {"adapter": "a-"}))
def test_a_run_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RunError):
        replace(RUN, **changes)  # type: ignore[arg-type]


WHO = "0x" + "0a" * 20
REPLACES = Replacement("adapters/letters/revisions/" + "0" * 64, "ab" * 32, ("0x" + "0b" * 20, WHO))


def test_a_run_that_is_taken_again_says_so_in_its_file() -> None:
    run = replace(RUN, replaces=REPLACES)
    assert load(dump(run)) == run
    assert "replaces" not in dump(RUN)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    (
        ("adapters/letters/", "adapters/others/", "replaces.revision is not a revision of adapters/letters"),
        ("adapters/letters/", "letters/", "replaces.revision"),
        ("ab" * 32, "abab", "replaces.training"),
        (f"- '{WHO}'", "- 7", "replaces.without must be a list of addresses in quotes"),
        (WHO, "me", "is not a lower-case 0x address"),
        (WHO, "0x" + "0b" * 20, "each once"),
        ("without:", "with:", "replaces has unknown fields: with"),
    ),
)
def test_a_mistake_in_what_is_replaced_is_named(old: str, new: str, reason: str) -> None:
    text = dump(replace(RUN, snapshots=RUN.snapshots[:1], replaces=REPLACES))
    head, mark, tail = text.rpartition("replaces:")
    with pytest.raises(RunFileError, match=reason):
        load(head + mark + tail.replace(old, new))


SCALARS = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=30) | st.integers() | st.integers(10**300, 10**4000)
    | st.dates() | st.sampled_from(["0x" + "F" * 60_000, "1:" * 9000 + "1", "9" * 5000, ".inf", "1e400", "!!int ''"])
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(RULES)) | SCALARS, VALUES, max_size=4), VALUES, st.booleans())
def test_whatever_stands_in_a_run_file_it_is_a_run_or_refused_in_few_words(
    training: dict[object, object], other: object, plain: bool
) -> None:
    inner = yaml.dump({"training": training, "use": other} if plain else {"training": training})
    found = run_or_fault(SHORT.partition("training:")[0] + inner)
    if isinstance(found, Run):
        assert spec_to(found).rank == found.spec.rank
    else:
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        assert len(found.to_status("factory").SerializeToString()) < 4096


def run_or_fault(text: str) -> Run | Fault:
    try:
        return run_from(None, text, "", "float32")
    except Fault as fault:
        return fault


@pytest.mark.parametrize(
    ("value", "reason"),
    (
        ("rank: 0x" + "F" * 10_000, "rank must be a whole number from 1 to 512, got a number that is too long"),
        ("rank: 0x" + "F" * 60_000, "more than 16384 characters"),
        ("learning_rate: 1" + "0" * 400, "learning_rate must be a number from 1e-07 to 0.1, got inf"),
        ("seed: 4294967296", "seed must be a whole number from 0 to 4294967295"),
        ("placebos: 0", "placebos must be a whole number from 1 to 64"),
        ("rslora: !!bool maybe", "named types"),
        ("seed: !!int ''", "named types"),
        ("prompt_template: " + "x" * 10_000, "prompt_template must be a text of at most 8192 characters"),
    ),
)
def test_a_value_that_no_run_can_have_is_told(value: str, reason: str) -> None:
    with pytest.raises(RunFileError, match=reason) as error:
        load(SHORT.replace("learning_rate: 1e-3", value))
    assert len(str(error.value)) < 500
