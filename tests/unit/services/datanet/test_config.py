from __future__ import annotations

from pathlib import Path

import pytest

from services.datanet.config import DatanetConfig
from services.kit.config import ConfigError
from services.kit.testing import SECRET


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    values = {"DATA_DIR": tmp_path, "ARTIFACTS_DIR": tmp_path, "SERVICE_SECRET": SECRET, "LEDGER": "127.0.0.1:7405"}
    for key, value in values.items():
        monkeypatch.setenv(f"OPENLEDGER_DATANET_{key}", str(value))
    return monkeypatch


def test_the_environment_is_enough(environment, tmp_path):
    config = DatanetConfig.load()
    assert config.database == f"sqlite:///{tmp_path}/datanet.db"
    assert config.resolved()["service_secret"] == "**********"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    (
        ("LEDGER", "", "OPENLEDGER_DATANET_LEDGER"),
        ("MAX_RECORD_BYTES", "1", "OPENLEDGER_DATANET_MAX_RECORD_BYTES"),
        ("MAX_RECORD_BYTES", str(2**20 - 1), None),
        ("MAX_UPLOADS_BYTES", "2048", "max_uploads_bytes must be at least"),
        ("MAX_MESSAGE_BYTES", str(2**16), "max_message_bytes must be at least"),
    ),
)
def test_what_cannot_work_is_refused_by_name(environment, key, value, says):
    environment.setenv(f"OPENLEDGER_DATANET_{key}", value)
    if says is None:
        assert DatanetConfig.load().max_record_bytes == int(value)
        return
    with pytest.raises(ConfigError, match=says):
        DatanetConfig.load()


def test_what_is_kept_beside_the_database_lies_in_the_data_folder_or_where_it_is_said(environment, tmp_path):
    config = DatanetConfig.load()
    assert (config.shares, config.snapshots) == (tmp_path / "shares", tmp_path / "snapshots")
    assert config.erased == tmp_path / "erased.jsonl"
    environment.setenv("OPENLEDGER_DATANET_SHARES_DIR", "/mnt/shares")
    environment.setenv("OPENLEDGER_DATANET_SNAPSHOTS_DIR", "/mnt/snapshots")
    environment.setenv("OPENLEDGER_DATANET_ERASED_FILE", "/mnt/erased/list")
    config = DatanetConfig.load()
    assert (config.shares, config.snapshots) == (Path("/mnt/shares"), Path("/mnt/snapshots"))
    assert config.erased == Path("/mnt/erased/list")
