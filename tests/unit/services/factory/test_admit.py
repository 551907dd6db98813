from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from openledger import base_models
from services.factory.admit import admit
from services.factory.source import SourceUnavailable
from services.factory.spec import FineTuneSpec
from services.kit.errors import Fault
from tests.factory_world import SNAPSHOT, ListSource, snapshot_records

SPEC = FineTuneSpec(prompt_template="{question}", completion_template="{answer}")


@pytest.fixture
def source():
    return ListSource(snapshot_records(3, 1))


async def refused(source, spec=SPEC, bases=(SPEC.base,)):
    with pytest.raises(Fault) as fault:
        await admit(source, bases, spec, SNAPSHOT)
    return fault.value


async def test_what_can_be_done_is_pinned_to_root_and_base(source):
    admitted = await admit(source, (SPEC.base,), SPEC, SNAPSHOT)
    assert admitted.snapshot == source.info
    assert admitted.base_sha256 == base_models.REGISTRY[SPEC.base].sha256


async def test_a_base_that_is_not_offered_is_refused_even_where_it_is_a_folder(source, tmp_path):
    fault = await refused(source, replace(SPEC, base=str(tmp_path)))
    assert (fault.reason, fault.fields[0][0]) == ("UNKNOWN_BASE", "spec.base")


async def test_a_base_that_is_offered_and_not_there_says_so(source, tmp_path):
    fault = await refused(source, replace(SPEC, base=str(tmp_path)), (str(tmp_path),))
    assert fault.reason == "BASE_UNAVAILABLE"


async def test_a_snapshot_that_is_not_on_chain_is_refused(source):
    source.info = replace(source.info, anchored=False)
    assert (await refused(source)).reason == "SNAPSHOT_NOT_ANCHORED"


async def test_a_snapshot_without_records_is_refused(source):
    source.info = replace(source.info, records=0)
    assert (await refused(source)).reason == "EMPTY_SNAPSHOT"


async def test_a_source_that_is_away_can_be_asked_again(source):
    source.trouble = SourceUnavailable("nobody answers")
    fault = await refused(source)
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
async def test_a_template_names_fields_that_there_are(source, changes, reason, field):
    fault = await refused(source, replace(SPEC, **changes))
    assert (fault.reason, fault.fields[0][0]) == (reason, field)
