from __future__ import annotations

import pytest

from openledger.adapters import materialise
from openledger.artifacts import ArtifactError, ArtifactStore


@pytest.mark.parametrize("digest", ("..", ".", "", "../secret", "5" * 63, "A" * 64))
def test_a_name_that_is_no_digest_leads_nowhere(tmp_path, digest):
    """Such a name would be taken for a folder that is there already, wherever that is."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "secret").mkdir()
    with pytest.raises(ArtifactError, match="not the name of an artifact"):
        materialise(ArtifactStore(tmp_path / "artifacts"), digest, tmp_path / "adapters")


def test_a_revision_that_was_not_published_is_not_taken_from_what_lies_around(tmp_path):
    (tmp_path / "adapters" / ("5" * 64)).mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        materialise(ArtifactStore(tmp_path / "artifacts"), "5" * 64, tmp_path / "adapters")
