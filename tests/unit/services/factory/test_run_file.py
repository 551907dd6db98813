from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.factory.licence import Use
from services.factory.run import Replacement, Run, RunError, SnapshotPin
from services.factory.run_file import RunFileError, dump, load
from services.factory.spec import FineTuneSpec

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
        ("learning_rate: 1e-3", "seed: !!python/object/apply:os.getcwd []", "not YAML"),
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
