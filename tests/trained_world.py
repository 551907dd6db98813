"""A revision that was really trained, with its trainings again, and an export of its snapshot: what a stranger has."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openledger import base_models, manifest, records
from openledger.artifacts import ArtifactStore
from openledger.influence.index import ContributionIndex, root
from openledger.manifest import LineageManifest
from openledger.snapshots import EXPORTED, files, folder
from openledger.snapshots.documents import Manifest
from openledger.snapshots.files import Row, Text
from services.factory import parts, provenance, trunk_task
from services.factory.counterfactual_plan import plan
from services.factory.data import Record
from services.factory.lines import line
from services.factory.run_shard import TASK, arguments, replay
from services.factory.spec import FineTuneSpec
from services.kit.executor import Shard
from tests.shard_bench import Bench

OWNER = "0x" + "0d" * 20
SNAPSHOT = "datanets/words/snapshots/1"


@dataclass(frozen=True)
class Trained:
    """Folders, and the revision's digest."""

    artifacts: Path
    export: Path
    revision: str

    @property
    def lineage(self) -> LineageManifest:
        return manifest.parse(ArtifactStore(self.artifacts).get(self.revision))

    def lying(self, to: Path, **lies: Callable[[bytes], bytes]) -> Trained:
        """A copy that publishes other files: `lies` by the file's name, its dots as underscores.

        Its manifest has the root of the contribution index that it publishes.
        """
        shutil.copytree(self.artifacts, to)
        store, lineage = ArtifactStore(to), self.lineage
        told = {n: lies[n.replace(".", "_")] for n in lineage.files if n.replace(".", "_") in lies}
        assert len(told) == len(lies)
        named = {name: store.put(lie(store.get(lineage.files[name]))) for name, lie in told.items()}
        files = {**lineage.files, **named}
        index = ContributionIndex.open(store.path(files["contribution_index.safetensors"]))
        return replace(
            self, artifacts=to, revision=put(store, replace(lineage, files=files, index_root=root(index).hex()))
        )


def put(store: ArtifactStore, lineage: LineageManifest) -> str:
    """Publish a manifest; returns its digest."""
    return store.put(manifest.sign(lineage, "0x" + "5a" * 32).to_bytes())


def train(
    place: Path,
    base: Path,
    made: Sequence[Record],
    spec: FineTuneSpec,
    records_folder: Path,
    instead: tuple[Trained, str] | None = None,
) -> Trained:
    """Train as a Factory does, in this process, and publish.  records_folder: where FOLDER points to.

    instead: a revision that this one replaces, and whom it leaves out.
    """
    if instead is not None:
        shutil.copytree(instead[0].artifacts, place / "artifacts")
    kept, store, bench = ArtifactStore(records_folder), ArtifactStore(place / "artifacts"), Bench(place / "outputs")
    texts = kept.put(b"".join(line(r.name, r.contributor, r.fields) for r in made))
    again = replaces = None
    if instead is not None:
        training = kept.put(store.get(instead[0].lineage.files["training.json"]))
        again, replaces = replay(training, [instead[1]]), manifest.Replaces(instead[0].lineage.revision, (instead[1],))
    run = Shard(TASK, arguments(spec, base_models.sha256(spec.base), texts, 1, again))
    if below := trunk_task.shard(run.arguments):
        bench.done(below)
    done = bench.done(run)
    people, steps = sorted(done["contributors"]), done["metrics"]["steps"]
    named = [(bench.output(run), (*manifest.FILES, "training.json", "effects.json"))]
    followed, indexed = parts.plan(run, spec, len(people), steps), run
    if followed.parts:
        indexed = followed.join
        named.append((bench.output(indexed), tuple(_all(bench, (*followed.parts, indexed))[-1]["files"])))
    if spec.trained_again:
        planned = plan(run, spec, people, steps, indexed)
        named.append((bench.output(planned.fit), tuple(_all(bench, (*planned.retrainings, planned.fit))[-1]["files"])))
    lineage = LineageManifest(
        adapter="words",
        base=manifest.Base(spec.base, base_models.sha256(spec.base)),
        files={name: store.put_file(output / name) for output, names in named for name in names},
        index_root=bench.done(indexed)["index_root"],
        snapshots=(manifest.Snapshot(SNAPSHOT, export(place / "export", made)),),
        spec=spec.to_json(),
        contributors=done["contributors"],
        owner=OWNER,
        metrics=done["metrics"],
        code=provenance.code(),
        licence="CC0-1.0",
        use="commercial",
        replaces=replaces,
    )
    return Trained(store.root, place / "export", put(store, lineage))


def _all(bench: Bench, shards: Sequence[Shard]) -> list[dict[str, Any]]:
    return [bench.done(shard) for shard in shards]


def export(place: Path, made: Sequence[Record], erased: Collection[str] = ()) -> str:
    """Write a folder as `openledger datanet export` does; returns the snapshot's root.  erased: names."""
    texts = [_text(leaf, record) for leaf, record in enumerate(made)]
    root = records.snapshot_root([bytes.fromhex(text.row.commitment) for text in texts]).hex()
    said = Manifest(
        snapshot=SNAPSHOT,
        parent="",
        root=root,
        record_count=len(made),
        contributor_count=len({record.contributor for record in made}),
        licence="CC0-1.0",
        licence_notice="",
        display_name="Words",
        description="",
        tags=[],
        owner=OWNER,
        create_time=0,
        fields=[],
        files={},
    )
    (place / EXPORTED).mkdir(parents=True)
    folder.make(place / EXPORTED, said, [text.row for text in texts])
    named, opened = files.FORMATS["jsonl"]
    (place / "data").mkdir()
    with opened(place / "data" / named, ["prompt", "completion"]) as add:
        add([text for text in texts if text.row.record not in erased])
    return root


def _text(leaf: int, record: Record) -> Text:
    salt = hashlib.sha256(record.name.encode()).digest()
    body = records.canonical_bytes(record.contributor, record.fields, "a test")
    row = Row(leaf, record.name, record.contributor, "CC0-1.0", records.commitment(salt, body).hex())
    return Text(row, record.fields, "a test", salt.hex())


def rows(change: Callable[[ContributionIndex], None]) -> Callable[[bytes], bytes]:
    """A lie about an index."""

    def lie(data: bytes) -> bytes:
        index = ContributionIndex.from_bytes(data)
        index = ContributionIndex(index.header, index.vectors.copy(), index.exponents.copy())
        change(index)
        return index.to_bytes()

    return lie
