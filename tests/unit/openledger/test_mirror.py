"""Artifacts of a web server: an honest one, and every way in which another one can harm whoever reads there."""

from __future__ import annotations

import socket
import time
from functools import partial

import pytest

from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.canonical import sha256
from openledger.mirror import Mirror, MirrorError
from tests.certificates import Authority
from tests.web_folder import Quiet, answering, folder_of, serving

DIGEST = sha256(b"hello")


def head(handler, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def kept(folder):
    """What is in a mirror's folder, halves included."""
    return [file.name for file in folder.rglob("*") if file.is_file()]


def test_what_is_read_is_brought_once(tmp_path):
    theirs = ArtifactStore(tmp_path / "theirs")
    digest = theirs.put(b"hello")
    with folder_of(theirs) as (url, asked):
        mirror = Mirror(url + "/", tmp_path / "ours")
        assert mirror.has(digest)
        assert (mirror.get(digest), mirror.size(digest), mirror.path(digest).read_bytes()) == (b"hello", 5, b"hello")
        assert mirror.bring(digest) == tmp_path / "ours" / "sha256" / digest[:2] / digest
        assert mirror.again().get(digest) == Mirror(url, tmp_path / "ours").get(digest) == b"hello"
        assert asked == [f"/sha256/{digest[:2]}/{digest}"]


@pytest.mark.parametrize("there", (True, False))
def test_what_was_damaged_here_is_brought_again_and_is_no_fault_of_the_publishers(tmp_path, there):
    theirs = ArtifactStore(tmp_path / "theirs")
    digest = theirs.put(b"hello")
    with folder_of(theirs) as (url, asked):
        place = Mirror(url, tmp_path / "ours").bring(digest)
        place.chmod(0o644)
        place.write_bytes(b"hullo")
        if not there:
            theirs.path(digest).unlink()
        mirror = Mirror(url, tmp_path / "ours")
        assert mirror.has(digest) is there
        assert place.is_file() is there
        if there:
            assert place.read_bytes() == mirror.get(digest) == b"hello"
            assert mirror.is_whole(digest)
            assert len(asked) == 2, "and not once more for each reading"


def test_it_may_lie_in_a_folder_of_the_server(tmp_path):
    theirs = ArtifactStore(tmp_path / "a" / "b")
    digest = theirs.put(b"hello")
    with folder_of(ArtifactStore(tmp_path)) as (url, _):
        assert Mirror(f"{url}/a/b", tmp_path / "ours").get(digest) == b"hello"


@pytest.mark.parametrize("status", (404, 410))
def test_what_is_not_there_is_missing_as_in_a_folder(tmp_path, status):
    with answering(partial(head, status=status)) as url:
        mirror = Mirror(url, tmp_path)
        assert not mirror.has(DIGEST)
        for read in (mirror.get, mirror.path, mirror.size):
            with pytest.raises(ArtifactError, match=url) as caught:
                read(DIGEST)
            assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert kept(tmp_path) == []


def wrong_bytes(handler):
    head(handler, Content_Length=5)
    handler.wfile.write(b"hullo")


def fewer_bytes(handler):
    head(handler, Content_Length=5)
    handler.wfile.write(b"hell")
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def endless(handler):
    head(handler)
    while True:
        handler.wfile.write(bytes(1 << 16))


def endless_in_chunks(handler):
    handler.protocol_version = "HTTP/1.1"
    head(handler, Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def too_long(handler):
    head(handler, Content_Length=1 << 40)


def drip(handler):
    head(handler, Content_Length=1000)
    while True:
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def drip_of_a_head(handler):
    while True:
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler):
    time.sleep(30)


def no_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")


def failing(handler):
    head(handler, 503)


def partly(handler):
    head(handler, 206, Content_Length=5)
    handler.wfile.write(b"hello")


HOSTILE = {
    wrong_bytes: "another SHA-256",
    fewer_bytes: "another SHA-256",
    endless: "does not end",
    endless_in_chunks: "does not end",
    too_long: "it has 1099511627776 bytes, and 1000000 may still come",
    drip: "too long",
    drip_of_a_head: "too long",
    silent: "too long",
    no_http: "cannot be read",
    failing: "the answer is 503",
    partly: "the answer is 206",
}


@pytest.mark.parametrize("respond", HOSTILE, ids=lambda respond: respond.__name__)
def test_what_a_server_does_otherwise_ends_soon_keeps_nothing_and_is_no_fault_of_the_artifact(tmp_path, respond):
    with answering(respond) as url:
        mirror, begun = Mirror(url, tmp_path, most_bytes=10**6, most_seconds=0.5), time.monotonic()
        with pytest.raises(MirrorError, match=HOSTILE[respond]) as caught:
            mirror.get(DIGEST)
        assert f"{url}/sha256/{DIGEST[:2]}/{DIGEST}" in str(caught.value)
        assert time.monotonic() - begun < 20
    assert kept(tmp_path) == []


@pytest.mark.parametrize("status", (301, 302, 303, 307, 308))
def test_no_redirect_is_followed(tmp_path, status):
    """Not to the same server either: who asks here must not be sent around."""
    theirs = ArtifactStore(tmp_path / "theirs")
    digest = theirs.put(b"hello")
    with folder_of(theirs) as (there, asked):
        elsewhere = f"{there}/sha256/{digest[:2]}/{digest}"
        told = f"answer is {status}, and leads to '{there}.*no redirect"
        with (
            answering(partial(head, status=status, Location=elsewhere)) as url,
            pytest.raises(MirrorError, match=told),
        ):
            Mirror(url, tmp_path / "ours").get(digest)
        assert asked == []


def test_nobody_there_is_said(tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(MirrorError, match="refused"):
            Mirror(f"http://127.0.0.1:{held.getsockname()[1]}", tmp_path).get(DIGEST)


def test_bytes_and_time_are_those_of_all_that_is_brought(tmp_path):
    theirs = ArtifactStore(tmp_path / "theirs")
    first, second = theirs.put(bytes(600)), theirs.put(bytes(601))
    with folder_of(theirs) as (url, _):
        mirror = Mirror(url, tmp_path / "ours", most_bytes=1000)
        assert len(mirror.get(first)) == 600
        for each in (mirror, mirror.again()):
            with pytest.raises(MirrorError, match="it has 601 bytes, and 400 may"):
                each.get(second)
        assert len(mirror.get(first)) == 600
        assert len(Mirror(url, tmp_path / "ours", most_bytes=1000).get(second)) == 601
        with pytest.raises(MirrorError, match="too long"):
            Mirror(url, tmp_path / "others", most_seconds=0).get(first)


@pytest.mark.parametrize(
    "url",
    (
        "http://example.org/artifacts",
        "http://127.0.0.1.example.org",
        "http://10.0.0.1",
        "http://localhost.example.org",
        "ftp://example.org",
        "file:///etc/passwd",
        "https://",
        "https:///artifacts",
        "https://somebody@example.org",
        "https://somebody:secret@example.org",
        "https://example.org/?a=b",
        "https://example.org/#a",
        "https://example.org/a b",
        "https://example.org/a\r\nHost: other",
        "https://example.org:0",
        "https://example.org:99999",
        "https://exämple.org",
        "example.org",
        "",
    ),
)
def test_urls_that_are_none_or_could_be_read_along_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match=r"."):
        Mirror(url, tmp_path)


@pytest.mark.parametrize("url", ("http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1", "https://example.org/a"))
def test_https_and_this_machine_itself_are_taken(tmp_path, url):
    assert str(Mirror(url, tmp_path)) == url


@pytest.mark.parametrize("name", ("", "1" * 63, "../" * 10, "A" * 64))
def test_what_is_no_digest_is_not_asked_for(tmp_path, name):
    with answering(failing) as url, pytest.raises(ArtifactError, match="not the name"):
        Mirror(url, tmp_path).get(name)


def test_a_certificate_must_be_the_servers(tmp_path, monkeypatch):
    theirs, authority = ArtifactStore(tmp_path / "theirs"), Authority()
    digest = theirs.put(b"hello")
    handler = partial(type("Handler", (Quiet,), {"asked": []}), directory=str(theirs.root))
    files = authority.issue(tmp_path / "tls")
    with serving(handler, files) as url:
        with pytest.raises(MirrorError, match="CERTIFICATE_VERIFY_FAILED"):
            Mirror(url, tmp_path / "ours").get(digest)
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
        assert Mirror(url, tmp_path / "ours").get(digest) == b"hello"
    other = authority.issue(tmp_path / "other", names=("example.org",))
    with serving(handler, other) as url, pytest.raises(MirrorError, match="CERTIFICATE_VERIFY_FAILED"):
        Mirror(url, tmp_path / "nothing").get(digest)
