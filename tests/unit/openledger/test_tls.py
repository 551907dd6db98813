from __future__ import annotations

import pytest

from openledger.tls import AUTHORITY, CERTIFICATE, KEY, TlsFiles
from tests.certificates import Authority


def test_the_environment_names_all_of_it_or_the_authority_alone_or_nothing():
    assert TlsFiles.of({}) is None
    assert TlsFiles.of({AUTHORITY: "a"}) == TlsFiles.of({AUTHORITY: "a", CERTIFICATE: "", KEY: ""})
    whole = TlsFiles.of({AUTHORITY: "a", CERTIFICATE: "c", KEY: "k"})
    assert whole is not None
    assert [str(file) for file in (whole.authority, whole.certificate, whole.key)] == ["a", "c", "k"]
    for half in ({CERTIFICATE: "c", KEY: "k"}, {AUTHORITY: "a", KEY: "k"}, {AUTHORITY: "a", CERTIFICATE: "c"}):
        with pytest.raises(ValueError, match="TLS takes OPENLEDGER_TLS_AUTHORITY_FILE"):
            TlsFiles.of(half)


def test_a_renewal_changes_the_state_and_what_is_read(tmp_path):
    files = Authority().issue(tmp_path)
    before, said = files.state, files.read()
    assert (files.state, files.read()) == (before, said)
    Authority().issue(tmp_path)
    assert files.state != before
    assert all(new != old for new, old in zip(files.read(), said, strict=True))


def test_files_of_two_renewals_are_not_taken_together(tmp_path, monkeypatch):
    files, changing = Authority().issue(tmp_path), iter(range(100))
    monkeypatch.setattr(TlsFiles, "state", property(lambda _: (next(changing),)))
    with pytest.raises(OSError, match="change all the time"):
        files.read()


def test_a_file_that_is_gone_is_an_error(tmp_path):
    files = Authority().issue(tmp_path)
    files.key.unlink()
    with pytest.raises(FileNotFoundError):
        files.read()
