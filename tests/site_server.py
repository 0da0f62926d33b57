"""A small web site on this machine: pages that change, vanish and redirect, with validators and a log of requests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override


@dataclass
class Page:
    """What a path answers."""

    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return f'"{sha256(self.body).hexdigest()[:16]}"'


@dataclass
class Site:
    """Pages by path; `asked` holds (path, status) of every request in order."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def put(self, path: str, body: str | bytes, content_type: str = "text/html; charset=utf-8") -> None:
        self.pages[path] = Page(body.encode() if isinstance(body, str) else body, content_type)

    def html(self, path: str, title: str, text: str, *links: str) -> None:
        anchors = " ".join(f'<a href="{link}">{link}</a>' for link in links)
        self.put(
            path,
            f"<!doctype html><html><head><title>{title}</title></head><body><nav>{anchors}</nav><main><h1>{title}</h1>"
            f"<p>{text}</p></main></body></html>",
        )

    def redirect(self, path: str, target: str) -> None:
        self.pages[path] = Page(status=302, headers={"Location": target})

    def statuses(self, path: str) -> list[int]:
        return [status for asked, status in self.asked if asked == path]


@contextmanager
def serving_site(host: str = "127.0.0.1") -> Iterator[Site]:
    """Run the site on a free port until the block ends."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            page = site.pages.get(self.path, Page(b"nothing here", "text/plain", 404))
            status = page.status
            if status == 200 and self.headers.get("If-None-Match") == page.etag:
                status = 304
            site.asked.append((self.path, status))
            body = b"" if status == 304 else page.body
            self.send_response(status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(body)))
            if page.status == 200:
                self.send_header("ETag", page.etag)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    site.url = f"http://{host}:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
