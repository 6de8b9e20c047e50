"""Downloads against a server on this machine, and members of archives."""

from __future__ import annotations

import io
import socket
import tarfile
import zipfile

import pytest

from lsseq.data import download as download_module
from lsseq.data.download import FetchError, download, extract, progress_bar

CONTENT = bytes(range(256)) * 4000


def fetch(url, target, largest=1 << 30):
    seen: list[tuple[int, int | None]] = []
    download(url, target, largest=largest, progress=lambda done, total: seen.append((done, total)))
    return seen


def test_a_file_arrives_whole(site, tmp_path):
    site.files["/a"] = CONTENT
    seen = fetch(site.url("/a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_cut_connection_goes_on_where_it_broke(site, tmp_path):
    site.files["/a"], site.tags["/a"], site.cut["/a"] = CONTENT, '"1"', [300_000, 500_000]
    fetch(site.url("/a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert site.asked == [("/a", None), ("/a", "bytes=300000-"), ("/a", "bytes=800000-")]


def test_a_later_call_goes_on_too(site, tmp_path):
    site.files["/a"], site.cut["/a"] = CONTENT, [300_000, *[0] * download_module.ATTEMPTS]
    with pytest.raises(FetchError, match="the connection was cut"):
        fetch(site.url("/a"), tmp_path / "a")
    assert (tmp_path / "a.part").stat().st_size == 300_000
    site.asked.clear()
    fetch(site.url("/a"), tmp_path / "a")
    assert site.asked == [("/a", "bytes=300000-")]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_content_that_changed_meanwhile_comes_anew(site, tmp_path):
    site.files["/a"], site.tags["/a"] = CONTENT, '"1"'
    site.cut["/a"] = [300_000, *[0] * download_module.ATTEMPTS]
    with pytest.raises(FetchError):
        fetch(site.url("/a"), tmp_path / "a")
    site.files["/a"], site.tags["/a"] = CONTENT[::-1], '"2"'
    fetch(site.url("/a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_again(site, tmp_path):
    site.files["/a"], site.cut["/a"], site.ranges = CONTENT, [300_000], False
    fetch(site.url("/a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(site, tmp_path):
    site.files["/a"] = b"short"
    (tmp_path / "a.part").write_bytes(b"much longer than that")
    (tmp_path / "a.part.from").write_text(site.url("/a") + "\n")
    fetch(site.url("/a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"short"


def test_a_refusal_says_why(site, tmp_path):
    with pytest.raises(FetchError, match="HTTP 404 Not Found"):
        fetch(site.url("/missing"), tmp_path / "a")


def test_no_server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match="refused"):
        fetch(f"http://127.0.0.1:{port}/a", tmp_path / "a")


def test_more_than_there_should_be_is_refused(site, tmp_path):
    site.files["/a"] = CONTENT
    with pytest.raises(FetchError, match="it has more than 1,000 bytes"):
        fetch(site.url("/a"), tmp_path / "a", largest=1000)
    assert not (tmp_path / "a").exists()


def test_no_bar_where_there_is_no_terminal(capsys):
    with progress_bar("a") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


def packed(kind: str, path, members: dict[str, bytes]):
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["zip", "tgz"])
class TestArchives:
    def test_a_member_is_read_by_name(self, kind, tmp_path):
        archive = packed(kind, tmp_path / "a", {"in/x": b"no", "in/y": b"yes", "../evil": b"evil"})
        extract(archive, "in/y", tmp_path / "y", largest=10)
        assert (tmp_path / "y").read_bytes() == b"yes"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "y"]

    def test_a_name_that_leaves_the_archive_is_refused(self, kind, tmp_path):
        archive = packed(kind, tmp_path / "a", {"../evil": b"evil"})
        for name in ("../evil", "/etc/passwd", "in/../../evil"):
            with pytest.raises(FetchError, match="is not a name inside an archive"):
                extract(archive, name, tmp_path / "y", largest=10)

    def test_a_missing_member(self, kind, tmp_path):
        with pytest.raises(FetchError, match="a has no file in/z"):
            extract(packed(kind, tmp_path / "a", {"in/x": b""}), "in/z", tmp_path / "y", largest=10)

    def test_a_member_that_is_too_large(self, kind, tmp_path):
        with pytest.raises(FetchError, match="larger than it should be"):
            extract(packed(kind, tmp_path / "a", {"x": b"0" * 5_000_000}), "x", tmp_path / "y", largest=1000)

    def test_a_damaged_archive(self, kind, tmp_path):
        archive = packed(kind, tmp_path / "a", {"x": CONTENT})
        archive.write_bytes(archive.read_bytes()[:200])
        with pytest.raises(FetchError, match="a is damaged"):
            extract(archive, "x", tmp_path / "y", largest=1 << 30)


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a", "w") as archive:
        info = tarfile.TarInfo("x")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(FetchError, match="a has no file x"):
        extract(tmp_path / "a", "x", tmp_path / "y", largest=1 << 30)
