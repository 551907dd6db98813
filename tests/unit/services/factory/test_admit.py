from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from openledger import base_models
from services.factory.admit import Admission
from services.factory.licence import Attribution, Use
from services.factory.licence_terms import own
from services.factory.run import Run, SnapshotPin
from services.factory.source import SourceUnavailable
from services.factory.spec import FineTuneSpec
from services.kit.errors import Fault
from tests.factory_world import SECOND, SNAPSHOT, ListSource, root_of, snapshot_records

SPEC = FineTuneSpec(base="tiny", prompt_template="{question}", completion_template="{answer}")
OWNER = "0x" + "a" * 40
RUN = Run("letters", (SnapshotPin(SNAPSHOT),), SPEC)


@pytest.fixture
def source():
    source = ListSource(snapshot_records(3, 1))
    source.others[SECOND] = snapshot_records(5, 1)
    return source


@pytest.fixture
def admit(source, offered):
    def of(run=RUN, bases=(offered,), account=OWNER, **licences):
        return Admission(source, bases, licences).admit(run, account)

    return of


async def refused(admission):
    with pytest.raises(Fault) as fault:
        await admission
    return fault.value


async def test_what_can_be_done_is_pinned_to_roots_and_base(admit, source):
    admitted = await admit(replace(RUN, snapshots=(SnapshotPin(SECOND), SnapshotPin(SNAPSHOT))))
    roots = (root_of(source.made), root_of(source.others[SECOND]))
    assert admitted.run.snapshots == (SnapshotPin(SNAPSHOT, roots[0]), SnapshotPin(SECOND, roots[1]))
    assert admitted.run.base_sha256 == base_models.sha256("tiny")
    assert admitted.outcome.licence == "Apache-2.0"
    again = await admit(admitted.run)
    assert again == admitted


async def test_a_base_that_is_not_offered_is_refused_even_where_it_is_known(admit):
    run = replace(RUN, spec=replace(SPEC, base="smollm2-135m-instruct"))
    fault = await refused(admit(run))
    assert (fault.reason, fault.fields[0][0]) == ("UNKNOWN_BASE", "spec.base")


async def test_a_base_that_is_offered_and_not_there_says_so(admit, base, tmp_path):
    run = replace(RUN, spec=replace(SPEC, base=str(tmp_path)))
    assert (await refused(admit(run, (str(tmp_path),)))).reason == "BASE_UNAVAILABLE"


async def test_a_folder_that_is_in_no_registry_has_no_licence(admit, base):
    run = replace(RUN, spec=replace(SPEC, base=str(base)))
    fault = await refused(admit(run, (str(base),)))
    assert (fault.reason, fault.code) == ("LICENCE_UNKNOWN", grpc.StatusCode.FAILED_PRECONDITION)


async def test_a_base_with_other_weights_than_the_registry_says_is_refused(admit, tmp_path):
    file = tmp_path / "bases.toml"
    file.write_text(file.read_text().replace('sha256 = "', 'sha256 = "' + "0" * 64 + '" # "'))
    fault = await refused(admit())
    assert fault.reason == "BASE_UNAVAILABLE"
    assert "the registry says 0000" in fault.message


@pytest.mark.parametrize(
    ("change", "reason"),
    (
        ({"base_sha256": "ab" * 32}, "BASE_CHANGED"),
        ({"snapshots": (SnapshotPin(SNAPSHOT, "ab" * 32),)}, "SNAPSHOT_CHANGED"),
    ),
)
async def test_what_a_run_file_pins_must_be_found_again(admit, change, reason):
    fault = await refused(admit(replace(RUN, **change)))
    assert fault.reason == reason
    assert "abab" in fault.message


async def test_a_snapshot_that_is_not_on_chain_is_refused(admit, source):
    source.info = replace(source.info, anchored=False)
    assert (await refused(admit())).reason == "SNAPSHOT_NOT_ANCHORED"


async def test_a_snapshot_without_records_is_refused(admit, source):
    source.info = replace(source.info, records=0)
    assert (await refused(admit())).reason == "EMPTY_SNAPSHOT"


async def test_a_source_that_is_away_can_be_asked_again(admit, source):
    source.trouble = SourceUnavailable("nobody answers")
    fault = await refused(admit())
    assert (fault.reason, fault.code) == ("DATANET_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    assert fault.retry_after == 5


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    (
        ({"prompt_template": "{question} {colour}"}, "UNKNOWN_FIELD", "spec.prompt_template"),
        ({"completion_template": "{taste}"}, "UNKNOWN_FIELD", "spec.completion_template"),
        ({"completion_template": "{answer!r}"}, "BAD_TEMPLATE", "spec.completion_template"),
        ({"prompt_template": "{{question}}"}, "BAD_TEMPLATE", "spec.prompt_template"),
    ),
)
async def test_a_template_names_fields_that_there_are(admit, changes, reason, field):
    fault = await refused(admit(replace(RUN, spec=replace(SPEC, **changes))))
    assert (fault.reason, fault.fields[0][0]) == (reason, field)


# --- the licence gate -------------------------------------------------------------------------------------------------


async def test_the_snapshots_licence_is_the_gates_with_the_records_it_covers(admit, source):
    source.info = replace(source.info, licence="CC-BY-NC-4.0", notice="ask Anne")
    fault = await refused(admit())
    assert (fault.reason, fault.code) == ("LICENCE_NON_COMMERCIAL", grpc.StatusCode.FAILED_PRECONDITION)
    assert fault.metadata == {"Apache-2.0": "0", "CC-BY-NC-4.0": "3"}
    assert "3 under CC-BY-NC-4.0" in fault.message
    admitted = await admit(replace(RUN, use=Use.NON_COMMERCIAL))
    assert admitted.outcome.licence == "Apache-2.0 AND CC-BY-NC-4.0"
    assert Attribution(SNAPSHOT, "CC-BY-NC-4.0", "ask Anne") in admitted.outcome.attributions


async def test_an_operator_says_what_a_licence_of_ones_own_asks(admit, source):
    source.info = replace(source.info, licence="LicenseRef-Ours")
    assert (await refused(admit())).reason == "LICENCE_UNKNOWN"
    said = own(derivatives=True, commercial=True, attribution=True, share_alike=False, key="LicenseRef-Ours")
    assert (await admit(**{"LicenseRef-Ours": said})).outcome.licence == "Apache-2.0 AND LicenseRef-Ours"


async def test_a_run_of_before_there_was_a_gate_passes_it_alone(admit, source, offered):
    run = (await admit()).run
    source.info = replace(source.info, licence="CC-BY-SA-4.0")
    admission = Admission(source, (offered,), {})
    assert (await admission.license_now(run)).licence == "CC-BY-SA-4.0"
    source.info = replace(source.info, licence="CC-BY-ND-4.0")
    assert (await refused(admission.license_now(run))).reason == "LICENCE_FORBIDS_DERIVATIVES"


async def test_a_private_datanet_is_trained_on_by_its_owner_and_for_others_is_not_there(admit, source):
    source.info = replace(source.info, private_to=OWNER)
    assert (await admit()).snapshots[0].private_to == OWNER
    other = await refused(admit(account="0x" + "b" * 40))
    assert (other.reason, other.message) == ("SNAPSHOT_NOT_FOUND", f"there is no snapshot {SNAPSHOT}")
    source.info = replace(source.info, anchored=False)
    assert (await refused(admit(account="0x" + "b" * 40))).reason == "SNAPSHOT_NOT_FOUND"
    assert (await refused(admit())).reason == "SNAPSHOT_NOT_ANCHORED"
