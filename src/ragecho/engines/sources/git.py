"""The files of one branch of a Git repository, by dulwich: no git binary, and every request goes through our own client.

A run looks at the newest commit only (depth 1). A file's revision is the id of its blob, so only changed files are read.
"""

import asyncio
import base64
import io
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import httpx

from ragecho.engines.sources.patterns import is_wanted
from ragecho.kernel.errors import Unavailable
from ragecho.platform.outbound import AddressRefused, check_url, outbound_client
from ragecho.ports.source import Fetched, Gone, Item, Listing, Outcome, Skipped, SourceRefused
from ragecho.ports.source_configs import GitConfig

if TYPE_CHECKING:
    from dulwich.repo import Repo

# Of one commit, compressed; it is in memory for a moment.
MAX_PACK_BYTES = 300 * 1024**2
FETCH_SECONDS = 600.0


class GitSource:
    """A repository."""

    at_once = 1

    def __init__(
        self, config: GitConfig, secrets: Mapping[str, str], *, allow_private: bool = False, max_bytes: int
    ) -> None:
        self._config = config
        self._secrets = secrets
        self._allow_private = allow_private
        self._max_bytes = max_bytes
        self._folder: TemporaryDirectory[str] | None = None
        self._repository: Repo | None = None
        self._files: dict[str, bytes] = {}
        self._commit = ""

    @property
    def max_items(self) -> int:
        """How many files one run looks at."""
        return self._config.max_files

    async def list_changes(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return the wanted files of the branch's newest commit."""
        await self._load()
        items = tuple(Item(path, revision=blob.decode("ascii")) for path, blob in self._files.items())
        return Listing(items, cursor={"commit": self._commit})

    async def fetch(self, item: Item) -> Outcome:
        """Return a file as it is in the newest commit."""
        await self._load()
        blob = self._files.get(item.key)
        if blob is None:
            return Gone()
        content = await asyncio.to_thread(self._read, blob)
        revision = blob.decode("ascii")
        if not content:
            return Skipped("It is empty.", revision=revision)
        if len(content) > self._max_bytes:
            return Skipped(f"It has more than {self._max_bytes} bytes.", revision=revision)
        if content.startswith(b"version https://git-lfs"):
            return Skipped("It is a pointer to a large file (Git LFS), which is not fetched.", revision=revision)
        facts = {"url": f"{self._config.url}#{quote(item.key)}", "commit": self._commit, "path": item.key}
        return Fetched(item.key, item.key, _whole(content), metadata=facts, revision=revision)

    async def close(self) -> None:
        """Remove the local copy."""
        if self._repository is not None:
            self._repository.close()
        if self._folder is not None:
            await asyncio.to_thread(self._folder.cleanup)

    async def _load(self) -> None:
        if self._repository is not None:
            return
        self._folder = TemporaryDirectory(prefix="ragecho-git-")
        self._repository = await self._fetched(Path(self._folder.name))

    async def _fetched(self, folder: Path) -> "Repo":
        parts = urlsplit(self._config.url)
        if parts.scheme == "file":
            if not self._allow_private:
                raise AddressRefused("Only http and https repositories are read.")
            return await asyncio.to_thread(self._fetch, folder, None)
        check_url(self._config.url)
        async with outbound_client(
            allow_private=self._allow_private, max_bytes=MAX_PACK_BYTES, total_seconds=FETCH_SECONDS
        ) as client:
            loop = asyncio.get_running_loop()

            def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> httpx.Response:
                """Send from the thread that dulwich runs in."""
                request = client.request(method, url, headers=dict(headers), content=body, follow_redirects=True)
                return asyncio.run_coroutine_threadsafe(request, loop).result()

            return await asyncio.to_thread(self._fetch, folder, send)

    def _fetch(self, folder: Path, send: "Send | None") -> "Repo":
        """Fetch the newest commit of the branch and note its files. Runs in a thread."""
        from dulwich.client import LocalGitClient
        from dulwich.errors import GitProtocolError, HangupException, NotGitRepository
        from dulwich.repo import Repo

        repository = Repo.init_bare(str(folder))
        try:
            if send is None:
                path = url2pathname(urlsplit(self._config.url).path)
                found = LocalGitClient().fetch(path, repository, determine_wants=self._wanted(repository))
            else:
                client, path = http_client(self._config.url, self._secrets, send)
                found = client.fetch(path, repository, determine_wants=self._wanted(repository), depth=1)
            refs = {bytes(name): value for name, value in found.refs.items() if value is not None}
            symrefs = {bytes(name): bytes(target) for name, target in found.symrefs.items()}
            self._note(repository, self._head(refs, symrefs))
        except NotGitRepository as error:
            raise SourceRefused("no_repository", "There is no Git repository at this address.") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"The repository cannot be reached: {type(error).__name__}.") from error
        except (GitProtocolError, HangupException) as error:
            raise _protocol_failure(error) from error
        return repository

    def _wanted(self, repository: "Repo") -> Callable[..., list[Any]]:
        from dulwich.objects import ObjectID

        def wants(refs: Mapping[Any, Any], depth: int | None = None) -> list[Any]:
            head = self._head({bytes(name): value for name, value in refs.items() if value is not None}, {})
            return [] if ObjectID(head) in repository.object_store else [head]

        return wants

    def _head(self, refs: Mapping[bytes, bytes], symrefs: Mapping[bytes, bytes]) -> bytes:
        branch = self._config.branch
        if branch is None:
            head = refs.get(b"HEAD") or refs.get(symrefs.get(b"HEAD", b""))
            if head is None:
                raise SourceRefused("no_branch", "The repository has no commits, or names no branch as its own.")
            return head
        head = refs.get(f"refs/heads/{branch}".encode())
        if head is None:
            raise SourceRefused("no_branch", f"The repository has no branch '{branch}'.")
        return head

    def _note(self, repository: "Repo", head: bytes) -> None:
        from dulwich.object_store import iter_tree_contents
        from dulwich.objects import Commit, ObjectID

        commit = repository[ObjectID(head)]
        assert isinstance(commit, Commit)
        self._commit = head.decode("ascii")
        for entry in iter_tree_contents(repository.object_store, commit.tree):
            path = (entry.path or b"").decode("utf-8", "replace")
            # No links, which may lead anywhere, and no other repositories.
            if entry.mode is not None and stat.S_ISREG(entry.mode) and self._wants(path) and entry.sha is not None:
                self._files[path] = bytes(entry.sha)

    def _wants(self, path: str) -> bool:
        return is_wanted(path, include=self._config.include, exclude=self._config.exclude)

    def _read(self, blob: bytes) -> bytes:
        from dulwich.objects import ObjectID

        assert self._repository is not None
        return bytes(self._repository.object_store[ObjectID(blob)].as_raw_string())


Send = Callable[[str, str, Mapping[str, str], bytes | None], httpx.Response]


def http_client(url: str, secrets: Mapping[str, str], send: Send) -> tuple[Any, str]:
    """Return dulwich's smart HTTP client, sending by `send`, and the path of the repository."""
    from dulwich.client import AbstractHttpGitClient
    from dulwich.errors import GitProtocolError, NotGitRepository

    parts = urlsplit(url)

    class Client(AbstractHttpGitClient):
        def _http_request(
            self,
            url: str,
            headers: Mapping[str, str] | None = None,
            data: Any = None,
            raise_for_status: bool = True,
        ) -> tuple[Any, Callable[[int], bytes]]:
            body = data if data is None or isinstance(data, bytes) else b"".join(data)
            # A redirect may lead to another host, which is not the one that the password is for.
            login = _login(secrets) if urlsplit(url).netloc == parts.netloc else {}
            response = send("GET" if data is None else "POST", url, {**(headers or {}), **login}, body)
            status = response.status_code
            if status in (401, 403):
                raise SourceRefused("not_permitted", "The repository is private: a user name and a token are needed.")
            if status == 404:  # noqa: PLR2004 - HTTP's own
                raise NotGitRepository
            if status != 200:  # noqa: PLR2004 - HTTP's own
                raise GitProtocolError(f"unexpected http resp {status} for {url}")
            final = str(response.url)
            answer = _Answer(status, response.headers.get("content-type", ""), final if final != url else "")
            return answer, io.BytesIO(response.content).read

    return Client(f"{parts.scheme}://{parts.netloc}"), parts.path


class _Answer:
    """What dulwich reads of a response."""

    def __init__(self, status: int, content_type: str, redirect_location: str) -> None:
        self.status = status
        self.content_type = content_type
        self.redirect_location = redirect_location

    def close(self) -> None:
        pass


def _login(secrets: Mapping[str, str]) -> dict[str, str]:
    password = secrets.get("password")
    if not password:
        return {}
    # Hosts take a token as the password of any user name.
    pair = f"{secrets.get('username') or 'git'}:{password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _protocol_failure(error: Exception) -> Exception:
    text = str(error)
    if " 5" in text and "http resp" in text:
        return Unavailable("The repository's server failed.")
    return SourceRefused("no_repository", "What answers at this address does not speak Git's protocol.")


async def _whole(content: bytes) -> AsyncGenerator[bytes]:
    yield content
