from __future__ import annotations

import pytest

from services.factory.licence import Attribution, LicenceRefused, Outcome, Source, Use, combine
from services.factory.licence_terms import Terms, own

BASE = Source("baseModels/tiny", "Apache-2.0")
OURS = {
    "LicenseRef-Free": own(
        derivatives=True, commercial=True, attribution=True, share_alike=False, key="LicenseRef-Free"
    ),
    "LicenseRef-Share": own(
        derivatives=True, commercial=True, attribution=False, share_alike=True, key="LicenseRef-Share"
    ),
}


def gate(
    *licences: str, use: Use = Use.COMMERCIAL, base: str = "Apache-2.0", table: dict[str, Terms] = OURS
) -> Outcome:
    sources = [Source(f"datanets/d{i}/snapshots/1", licence, 10 + i) for i, licence in enumerate(licences)]
    return combine([Source("baseModels/tiny", base), *sources], use, table)


def refused(*licences: str, **how: object) -> LicenceRefused:
    with pytest.raises(LicenceRefused) as refusal:
        gate(*licences, **how)  # type: ignore[arg-type]
    return refusal.value


@pytest.mark.parametrize(
    ("licences", "result"),
    (
        (["CC0-1.0"], "Apache-2.0"),
        (["CC-BY-4.0"], "Apache-2.0 AND CC-BY-4.0"),
        (["CC-BY-4.0", "MIT", "PDDL-1.0"], "Apache-2.0 AND CC-BY-4.0 AND MIT"),
        (["CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
        (["CC-BY-SA-3.0", "CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
        (["CC-BY-SA-2.0", "CC-BY-SA-3.0-AT"], "CC-BY-SA-3.0"),
        (["CC-BY-SA-4.0", "GPL-3.0-or-later"], "GPL-3.0-only"),
        (["GPL-2.0-or-later"], "GPL-3.0-or-later"),
        (["GPL-3.0-only", "AGPL-3.0-only"], "AGPL-3.0-only"),
        (["LGPL-2.1-only", "GPL-3.0-or-later"], "GPL-3.0-or-later"),
        (["MPL-2.0", "LGPL-3.0-only"], "LGPL-3.0-only"),
        (["GPL-3.0-only WITH GCC-exception-3.1"], "GPL-3.0-only"),
        (["ODbL-1.0", "CC-BY-4.0"], "ODbL-1.0"),
        (["LicenseRef-Free"], "Apache-2.0 AND LicenseRef-Free"),
        (["LicenseRef-Share", "MIT"], "LicenseRef-Share"),
    ),
)
def test_licences_that_go_together_give_one_result(licences: list[str], result: str) -> None:
    assert gate(*licences).licence == result
    assert gate(*reversed(licences)).licence == result


def test_public_domain_all_the_way_stays_so_and_owes_nobody() -> None:
    assert gate("CC0-1.0", "PDDL-1.0", base="Unlicense") == Outcome("CC0-1.0", ())


@pytest.mark.parametrize(
    ("licences", "reason", "word"),
    (
        (["CC-BY-ND-4.0"], "LICENCE_FORBIDS_DERIVATIVES", "CC-BY-ND-4.0"),
        (["CC-BY-NC-ND-3.0-DE"], "LICENCE_FORBIDS_DERIVATIVES", "NoDerivatives"),
        (["CC0-1.0", "CC-BY-NC-4.0"], "LICENCE_NON_COMMERCIAL", "CC-BY-NC-4.0"),
        (["LicenseRef-Secret"], "LICENCE_UNKNOWN", "LicenseRef-Secret"),
        (["CC-BY-9.9"], "LICENCE_UNKNOWN", "CC-BY-9.9"),
        (["EUPL-1.2"], "LICENCE_UNKNOWN", "EUPL-1.2"),
        (["free for all"], "LICENCE_UNKNOWN", "free for all"),
        (["MIT AND"], "LICENCE_UNKNOWN", "no SPDX"),
        ([""], "LICENCE_UNKNOWN", "no SPDX"),
        (["CC-BY-SA-4.0", "ODbL-1.0"], "LICENCES_INCOMPATIBLE", "CC-BY-SA-4.0 and ODbL-1.0"),
        (["CC-BY-SA-1.0", "CC-BY-SA-4.0"], "LICENCES_INCOMPATIBLE", "CC-BY-SA-1.0"),
        (["GPL-2.0-only"], "LICENCES_INCOMPATIBLE", "Apache-2.0"),
        (["GPL-2.0-only", "GPL-3.0-only"], "LICENCES_INCOMPATIBLE", "GPL-2.0-only and GPL-3.0-only"),
        (["GPL-3.0-only", "CC-BY-3.0"], "LICENCES_INCOMPATIBLE", "CC-BY-3.0"),
        (["LicenseRef-Share", "CC-BY-SA-4.0"], "LICENCES_INCOMPATIBLE", "LicenseRef-Share"),
    ),
)
def test_what_does_not_go_is_refused_with_its_rule_and_the_records(licences: list[str], reason: str, word: str) -> None:
    refusal = refused(*licences)
    assert refusal.reason == reason
    assert word in str(refusal)
    assert refusal.counts[licences[0]] == 10
    if licences[0]:
        assert f"10 under {licences[0]}" in str(refusal)


def test_non_commercial_data_are_good_for_non_commercial_use() -> None:
    assert gate("CC-BY-NC-4.0", use=Use.NON_COMMERCIAL).licence == "Apache-2.0 AND CC-BY-NC-4.0"
    assert gate("CC-BY-NC-SA-3.0", "CC-BY-NC-4.0", use=Use.NON_COMMERCIAL).licence == "CC-BY-NC-SA-3.0"


def test_share_alike_cannot_take_in_what_forbids_commercial_use() -> None:
    for private in ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"):
        assert refused("CC-BY-SA-4.0", private, use=Use.NON_COMMERCIAL).reason == "LICENCES_INCOMPATIBLE"


def test_the_base_models_licence_counts() -> None:
    assert refused("CC0-1.0", base="CC-BY-NC-4.0").reason == "LICENCE_NON_COMMERCIAL"
    assert refused("CC0-1.0", base="LicenseRef-Community").reason == "LICENCE_UNKNOWN"
    assert gate("GPL-2.0-only", base="MIT").licence == "GPL-2.0-only"


def test_of_a_choice_the_least_demanding_is_taken_that_passes() -> None:
    assert gate("GPL-3.0-only OR MIT").licence == "Apache-2.0 AND MIT"
    assert gate("MIT OR CC0-1.0").licence == "Apache-2.0"
    assert gate("GFDL-1.3-or-later OR CC-BY-SA-3.0", "CC-BY-SA-4.0").licence == "CC-BY-SA-4.0"
    assert gate("CC-BY-NC-4.0 OR GPL-3.0-or-later").licence == "GPL-3.0-or-later"
    assert refused("CC-BY-ND-4.0 OR LicenseRef-Secret").reason == "LICENCE_FORBIDS_DERIVATIVES"


def test_of_what_holds_together_all_holds() -> None:
    assert gate("MIT AND (CC-BY-4.0 OR CC-BY-ND-4.0)").licence == "Apache-2.0 AND CC-BY-4.0 AND MIT"
    assert refused("MIT AND CC-BY-ND-4.0").reason == "LICENCE_FORBIDS_DERIVATIVES"


def test_names_are_due_to_whoever_asks_for_them() -> None:
    sources = [
        BASE,
        Source("datanets/a/snapshots/1", "CC-BY-4.0", 3, "Anne's herbarium"),
        Source("datanets/b/snapshots/2", "CC0-1.0", 4, "nobody asks"),
    ]
    assert combine(sources, Use.COMMERCIAL, {}).attributions == (
        Attribution("baseModels/tiny", "Apache-2.0"),
        Attribution("datanets/a/snapshots/1", "CC-BY-4.0", "Anne's herbarium"),
    )


def test_an_operator_cannot_say_otherwise_of_a_licence_that_is_known() -> None:
    loose = own(derivatives=True, commercial=True, attribution=False, share_alike=False, key="CC-BY-ND-4.0")
    assert refused("CC-BY-ND-4.0", table={"CC-BY-ND-4.0": loose}).reason == "LICENCE_FORBIDS_DERIVATIVES"


def test_an_expression_of_many_choices_ends_soon() -> None:
    many = " AND ".join(["(MIT OR ISC)"] * 60)
    assert gate(many).licence in {"Apache-2.0 AND MIT", "Apache-2.0 AND ISC", "Apache-2.0 AND ISC AND MIT"}
