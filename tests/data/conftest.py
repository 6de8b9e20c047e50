"""A web server on this machine, for downloads that are cut off, resumed, refused or changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Site:
    """What the server gives, and what it was asked.

    `files` maps a path to its content. `cut` maps a path to the number of bytes after which its connections break, one
    entry a connection. `ranges` is False for a server that knows no ranges.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, list[int]] = {}
        self.tags: dict[str, str] = {}
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return self.address + path


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.asked.append((self.path, asked))
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            tag = site.tags.get(self.path)
            same = "If-Range" not in self.headers or self.headers["If-Range"] == tag
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and site.ranges and same else 0
            if start > len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if tag:
                self.send_header("ETag", tag)
            self.end_headers()
            cuts = site.cut.get(self.path, [])
            self.wfile.write(content[start : start + cuts.pop(0)] if cuts else content[start:])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        made = Site(f"http://127.0.0.1:{server.server_address[1]}")
        server.RequestHandlerClass = handler(made)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """An empty data folder for this test alone."""
    folder = tmp_path / "lsseq-data"
    monkeypatch.setenv("LSSEQ_DATA", str(folder))
    return folder
