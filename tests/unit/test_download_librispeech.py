import dataclasses
import hashlib
import http.server
import io
import os
import re
import socket
import tarfile
import threading
import time

import numpy as np
import pytest

from speechrep.bin.download_librispeech import (
    COMPLETE,
    OPENSLR,
    PARTS,
    DownloadConfig,
    Part,
    _address,
    fetch_part,
    main,
    unpack,
)
from speechrep.errors import InputError

NAME = "tiny-part"


def make_tar(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))
    return stream.getvalue()


AUDIO = np.random.default_rng(1).bytes(3_000_000)
ARCHIVE = make_tar(
    [(f"LibriSpeech/{NAME}/1/2/1-2-0000.flac", AUDIO), ("LibriSpeech/SPEAKERS.TXT", b"1 | F\n")]
)
TABLE = {NAME: Part(12, len(ARCHIVE), hashlib.md5(ARCHIVE).hexdigest())}


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; the first replies are ``refusals``, ``drops`` more break off in the middle.

    With ``pretends`` it answers as if it continued, and sends all.
    """

    def __init__(self, content, drops=0, ranges=True, refusals=(), pretends=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.drops, self.ranges, self.log = content, drops, ranges, []
        self.refusals, self.pretends = list(refusals), pretends


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        start = self.headers.get("Range")
        server.log.append((self.path, start))
        if not self.path.endswith(f"/{NAME}.tar.gz"):
            self.send_error(404)
            return
        if server.refusals:
            self.send_error(server.refusals.pop(0))
            return
        first = int(start.removeprefix("bytes=").rstrip("-")) if start and server.ranges else 0
        first = 0 if server.pretends else first
        body = server.content[first:]
        self.send_response(206 if start and server.ranges else 200)
        if start and server.ranges:
            end, total = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {first}-{end}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.drops:
            server.drops -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*args, **options):
        server = Server(*args, **options)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, DownloadConfig(url=f"http://127.0.0.1:{server.server_port}/m", wait_s=0, tries=3)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check_complete(out_dir):
    assert (out_dir / "LibriSpeech" / NAME / "1" / "2" / "1-2-0000.flac").read_bytes() == AUDIO
    assert (out_dir / "LibriSpeech" / NAME / COMPLETE).is_file()
    assert not list(out_dir.glob("*.part"))


def test_continues_what_broke_off(serve, tmp_path, capsys):
    server, config = serve(ARCHIVE, drops=2)
    fetch_part(NAME, tmp_path, config, TABLE)
    check_complete(tmp_path)
    assert "3/3 MB fetched, " in capsys.readouterr().err
    half = len(ARCHIVE) // 2
    assert [start for _, start in server.log] == [
        None, f"bytes={half}-", f"bytes={half + (len(ARCHIVE) - half) // 2}-",
    ]  # fmt: skip
    fetch_part(NAME, tmp_path, config, TABLE)  # complete: not asked for again
    (tmp_path / "LibriSpeech" / NAME / COMPLETE).unlink()
    fetch_part(NAME, tmp_path, config, TABLE)  # the archive is there: unpacked again
    assert len(server.log) == 3
    check_complete(tmp_path)


def test_next_run_continues(serve, tmp_path):
    server, config = serve(ARCHIVE, drops=3)
    with pytest.raises(InputError, match=r"tiny-part\.tar\.gz: not fetched in 3 attempts"):
        fetch_part(NAME, tmp_path, config, TABLE)
    held = (tmp_path / f"{NAME}.tar.gz.part").stat().st_size
    assert held > len(ARCHIVE) // 2 and not (tmp_path / "LibriSpeech").exists()
    fetch_part(NAME, tmp_path, config, TABLE)
    assert server.log[-1][1] == f"bytes={held}-"
    check_complete(tmp_path)


def test_a_whole_part_is_not_fetched_again(serve, tmp_path):
    server, config = serve(ARCHIVE)
    (tmp_path / f"{NAME}.tar.gz.part").write_bytes(ARCHIVE)  # killed before it got its name
    fetch_part(NAME, tmp_path, config, TABLE)
    check_complete(tmp_path)
    assert not server.log


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(status, serve, tmp_path):
    server, config = serve(ARCHIVE, refusals=[status])
    fetch_part(NAME, tmp_path, config, TABLE)
    check_complete(tmp_path)
    assert len(server.log) == 2


def test_waits_are_doubled_and_none_follows_the_last_attempt(serve, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    _, config = serve(ARCHIVE, refusals=[503] * 4)
    with pytest.raises(InputError, match=r"not fetched in 4 attempts: .*503"):
        fetch_part(NAME, tmp_path, dataclasses.replace(config, wait_s=1.5, tries=4), TABLE)
    assert waits == [1.5, 3, 6]


@pytest.mark.parametrize("what", [{"ranges": False}, {"pretends": True}])
def test_server_that_cannot_continue_starts_over(what, serve, tmp_path):
    _, config = serve(ARCHIVE, drops=1, **what)
    fetch_part(NAME, tmp_path, config, TABLE)
    check_complete(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ARCHIVE[:-1] + b"x", r"tiny-part\.tar\.gz\.part: has MD5 \w+, want"),
        (ARCHIVE + b"x", r"part: has \d+ bytes, want \d+"),
        (ARCHIVE[:-9], r"not fetched in 3 attempts"),
    ],
)
def test_wrong_archive_is_refused(content, message, serve, tmp_path):
    _, config = serve(content)
    with pytest.raises(InputError, match=message):
        fetch_part(NAME, tmp_path, config, TABLE)
    assert not (tmp_path / "LibriSpeech").exists() and not (tmp_path / f"{NAME}.tar.gz").exists()


def test_an_archive_without_end_does_not_fill_the_disk(serve, tmp_path):
    _, config = serve(ARCHIVE + bytes(10_000_000))
    with pytest.raises(InputError, match=r"part: has \d+ bytes") as error:
        fetch_part(NAME, tmp_path, config, TABLE)
    assert int(re.search(r"has (\d+) bytes", str(error.value))[1]) <= len(ARCHIVE)


def test_a_silent_server_is_given_up(tmp_path):
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=r"not fetched in 1 attempts: timed out"):
            fetch_part(NAME, tmp_path, DownloadConfig(url=url, tries=1, timeout_s=0.1), TABLE)
    assert time.monotonic() - began < 10


def test_the_marker_reaches_the_disk_after_the_files(serve, tmp_path, monkeypatch):
    marker = tmp_path / "LibriSpeech" / NAME / COMPLETE
    there = []
    monkeypatch.setattr(os, "sync", lambda: there.append((marker.parent.is_dir(), marker.exists())))
    _, config = serve(ARCHIVE)
    fetch_part(NAME, tmp_path, config, TABLE)
    assert there == [(True, False)] and marker.is_file()


def test_missing_at_the_server_is_told_at_once(serve, tmp_path):
    server, config = serve(ARCHIVE)
    with pytest.raises(InputError, match=r"other\.tar\.gz: the server says 404"):
        fetch_part("other", tmp_path, config, {"other": TABLE[NAME]})
    assert len(server.log) == 1


@pytest.mark.parametrize("remove", [False, True])
def test_the_archive_goes_if_asked(remove, serve, tmp_path):
    _, config = serve(ARCHIVE)
    fetch_part(NAME, tmp_path, dataclasses.replace(config, remove_archive=remove), TABLE)
    check_complete(tmp_path)
    assert bool(list(tmp_path.rglob("*.tar.gz"))) == (not remove)


def test_local_folder(tmp_path, capsys):
    (tmp_path / "archives" / "12").mkdir(parents=True)
    path = tmp_path / "archives" / "12" / f"{NAME}.tar.gz"
    path.write_bytes(ARCHIVE)
    config = DownloadConfig(url=str(tmp_path / "archives"), remove_archive=True)
    fetch_part(NAME, tmp_path / "out", config, TABLE)
    check_complete(tmp_path / "out")
    told = capsys.readouterr().err
    assert "3/3 MB checked, " in told and "3/3 MB unpacked, " in told
    assert path.is_file()  # the user's own, not ours to delete
    path.write_bytes(b"x" + ARCHIVE[1:])
    with pytest.raises(InputError, match=r"tiny-part\.tar\.gz: has MD5"):
        fetch_part(NAME, tmp_path / "other", config, TABLE)
    with pytest.raises(InputError, match=r"archives: no more\.tar\.gz here"):
        fetch_part("more", tmp_path / "out", config, {"more": TABLE[NAME]})


def test_local_folder_by_its_address(tmp_path):
    folder = tmp_path / "my archives"
    folder.mkdir()
    (folder / f"{NAME}.tar.gz").write_bytes(ARCHIVE)
    fetch_part(NAME, tmp_path / "out", DownloadConfig(url=folder.as_uri()), TABLE)
    check_complete(tmp_path / "out")


@pytest.mark.parametrize("member", [("../evil", b"x"), ("/tmp/evil", b"x"), ("LibriSpeech/link", None)])
def test_archives_that_lead_astray_are_refused(member, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(make_tar([("LibriSpeech/good", b"x"), member]))
    with pytest.raises(InputError, match=rf"a\.tar\.gz: member '{member[0]}' is not a plain file"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_damaged_archive(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(ARCHIVE[: len(ARCHIVE) // 2])
    with pytest.raises(InputError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_addresses_and_names(capsys, tmp_path):
    assert _address(OPENSLR, "x.tar.gz", 31) == "https://www.openslr.org/resources/31/x.tar.gz"
    assert _address("http://h/m/", "x.tar.gz", 31) == "http://h/m/x.tar.gz"
    # One resource's folder, by the address at which OpenSLR has it.
    assert _address(f"{OPENSLR}/31", "x.tar.gz", 31) == f"{OPENSLR}/31/x.tar.gz"
    assert len({part.md5 for part in PARTS.values()}) == len(PARTS) == 9
    with pytest.raises(SystemExit):
        main(["--parts", "dev-clean nosuch", "--out-dir", str(tmp_path)])
    assert "no part 'nosuch'" in capsys.readouterr().err
