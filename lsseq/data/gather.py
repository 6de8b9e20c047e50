"""The files that a corpus is made from: found in a folder or fetched, and verified before anything reads them."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lsseq.data.corpus import LARGEST, Corpus, Source
from lsseq.data.download import FetchError, download, extract, progress_bar
from lsseq.errors import Place, Problem, RequestError, RunError
from lsseq.resources import data_folder


def files_from(folder: Path, corpus: Corpus, scratch: Path) -> dict[str, Path]:
    """The files of a corpus from a folder and its subfolders, plain, .gz, or in the archives that the sources name.

    Returns:
        The uncompressed files by name; those that were compressed lie in `scratch`.

    Raises:
        RequestError: the folder or a file is missing, or a file is not the one that the corpus was made from.
    """
    if not folder.is_dir():
        raise RequestError(f"there is no folder {folder}")
    missing: Sequence[Source] = ()
    for sources in (corpus.files, corpus.instead):
        found = {source.name: _find(folder, source) for source in sources}
        if sources and all(found.values()):
            return _taken(sources, found, scratch)
        missing = missing or [source for source in sources if found[source.name] is None]
    raise RequestError(
        f"{folder} lacks {_names(missing)} of the corpus `{corpus.name}`",
        hint=expected_files(corpus, "put these files into a folder"),
    )


def _taken(sources: Sequence[Source], found: Mapping[str, tuple[Path, str] | None], scratch: Path) -> dict[str, Path]:
    taken, problems = {}, []
    for source in sources:
        path, member = found[source.name] or (Path(), "")
        try:
            taken[source.name] = _unpacked(path, member, source, scratch)
        except FetchError as error:
            problems.append(Problem(f"{source.name} is not the file that was expected: {error}", Place(str(path))))
    if problems:
        raise RequestError.of(problems, hint="an unchanged copy is needed, so that figures can be compared")
    return taken


def _find(folder: Path, source: Source) -> tuple[Path, str] | None:
    """The path of a source or of an archive with it, and its name in that archive."""
    candidates = [(source.name, ""), (f"{source.name}.gz", "")]
    candidates += [(Path(address).name, member) for address, member in map(_split, source.urls) if member]
    for place in (folder, *_subfolders(folder)):
        for name, member in candidates:
            if (place / name).is_file():
                return place / name, member
    return None


def _subfolders(folder: Path) -> Iterator[Path]:
    yield from sorted(inner for inner in folder.iterdir() if inner.is_dir())


def _unpacked(path: Path, member: str, source: Source, scratch: Path) -> Path:
    target = scratch / source.name
    if member:
        extract(path, member, target, largest=source.size or LARGEST)
    elif _is_packed(path, source):
        _gunzip(path, target)
    else:
        target = path
    verify(target, source)
    return target


def _is_packed(path: Path, source: Source) -> bool:
    return path.suffix == ".gz" and path.name != source.name


def _gunzip(path: Path, target: Path) -> None:
    try:
        with gzip.open(path) as packed, target.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise FetchError(f"the gzip file is damaged: {error}") from error


def fetched_files(corpus: Corpus, scratch: Path) -> dict[str, Path]:
    """Fetch the files of a corpus, each from the first of its addresses that gives it whole and unchanged.

    Raises:
        RunError: a file could not be had; says what was tried and how to go on without a network.
    """
    cache = data_folder() / "downloads" / corpus.name
    cache.mkdir(parents=True, exist_ok=True)
    files = {}
    for source in corpus.files:
        problems = []
        for url in source.urls:
            try:
                files[source.name] = _fetched(url, source, cache, scratch)
                break
            except FetchError as error:
                problems.append(Problem(f"{source.name} could not be fetched: {error}", Place(url)))
        if source.name not in files:
            raise RunError(
                problems[0].message,
                problems[0].place,
                hint=expected_files(corpus, "without a network, put these files into a folder"),
                more=tuple(problems[1:]),
            )
    shutil.rmtree(cache, ignore_errors=True)
    return files


def _fetched(url: str, source: Source, cache: Path, scratch: Path) -> Path:
    address, member = _split(url)
    # Two mirrors may give different archives of one name.
    own = cache / hashlib.sha256(address.encode()).hexdigest()[:8]
    own.mkdir(exist_ok=True)
    arrived = own / Path(address).name
    if not arrived.exists():
        with progress_bar(arrived.name) as progress:
            # A small file may grow where it is packed.
            plain = not member and not _is_packed(arrived, source)
            largest = source.size if plain and source.size is not None else LARGEST
            download(address, arrived, largest=largest, progress=progress)
    target = scratch / source.name
    try:
        if member:
            extract(arrived, member, target, largest=source.size or LARGEST)
        elif _is_packed(arrived, source):
            _gunzip(arrived, target)
        else:
            shutil.copyfile(arrived, target)
        verify(target, source)
    except FetchError:
        # Not to be met again at the next attempt.
        arrived.unlink(missing_ok=True)
        raise
    return target


def _split(url: str) -> tuple[str, str]:
    address, _, member = url.partition("#")
    return address, member


def verify(path: Path, source: Source) -> None:
    """Compare a file's size and sum with what is known of the source.

    Raises:
        FetchError: they differ.
    """
    size = path.stat().st_size
    if source.size is not None and size != source.size:
        raise FetchError(f"it has {size:,} bytes, not {source.size:,} ({_sums(path, source)})")
    if source.checksum is not None and (actual := _sum(path, source)) != source.checksum:
        raise FetchError(f"its sum is {actual}, not {source.checksum}")


def _sums(path: Path, source: Source) -> str:
    return f"its sum is {_sum(path, source)}, not {source.checksum}" if source.checksum else "no sum is known"


def _sum(path: Path, source: Source) -> str:
    digest = hashlib.new((source.checksum or "sha256:").partition(":")[0])
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f"{digest.name}:{digest.hexdigest()}"


def expected_files(corpus: Corpus, words: str) -> str:
    """The names, sizes and sums of a corpus' files, and the command that takes them from a folder."""
    lines = [f"{words} (plain or .gz) and run `lsseq data prepare {corpus.name} --from FOLDER`"]
    for number, sources in enumerate(group for group in (corpus.files, corpus.instead) if group):
        lines += ["or instead"] if number else []
        lines += [f"  {describe(source)}" for source in sources]
    return "\n".join(lines)


def describe(source: Source) -> str:
    """One line about a file."""
    size = f"{source.size:,} bytes" if source.size is not None else "size unknown"
    return f"{source.name}  {size}  {source.checksum or 'no sum known: verified by its counts'}"


def _names(sources: Sequence[Source]) -> str:
    return ", ".join(source.name for source in sources)
