"""What is told about a corpus: the same from `lsseq data` as from a corpus' own script."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsseq.data.corpus import Corpus, Published
from lsseq.data.gather import describe
from lsseq.data.prepare import Prepared, find_prepared, prepare, prepared_folder
from lsseq.errors import LsseqError, render

_COUNTS = ("characters", "bytes", "words", "lines")


def prepared_lines(prepared: Prepared) -> list[str]:
    """A table of the counts, and how they compare with the literature."""
    facts = prepared.facts
    if (images := prepared.corpus.images) is not None:
        counts = ", ".join(f"{split} {counted['bytes'] // images.size:,}" for split, counted in facts["splits"].items())
        size = f"{images.height}×{images.width} pixels in {len(images.classes)} classes"
        return [f"{prepared.corpus.name}: prepared in {prepared.folder}", f"  images of {size}: {counts}"]
    rows: list[tuple[str, ...]] = [("split", *_COUNTS)]
    rows += [(split, *(_number(counted[what]) for what in _COUNTS)) for split, counted in facts["splits"].items()]
    types = facts["types"]
    rows.append(("types in train", *(_number(types.get(unit)) for unit in ("char", "byte", "word")), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{prepared.corpus.name}: prepared in {prepared.folder}"]
    lines += ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append("  words: what white space separates, and one <eos> a line")
    for published in prepared.corpus.published:
        told = _published(published)
        equal = all(c.equal for c in prepared.comparisons() if c.unit == published.unit)
        lines.append(f"  published {published.unit} counts: {told}: {'equal' if equal else 'DIFFERENT'}")
    return lines


def _published(published: Published) -> str:
    parts = (published.train, published.valid, published.test)
    types = f", {published.types:,} types" if published.types is not None else ""
    return " / ".join(f"{number:,}" for number in parts if number is not None) + types


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def prepared_values(prepared: Prepared) -> dict[str, Any]:
    """The same for `--json`."""
    return {
        "name": prepared.corpus.name,
        "folder": str(prepared.folder),
        "splits": prepared.facts["splits"],
        "types": prepared.facts["types"],
        "published": [
            {"unit": c.unit, "what": c.what, "published": c.published, "found": c.found, "equal": c.equal}
            for c in prepared.comparisons()
        ],
    }


def corpus_values(corpus: Corpus) -> dict[str, Any]:
    """What is known of a corpus, for `lsseq data info --json`."""
    ready = find_prepared(corpus)
    return {
        "name": corpus.name,
        "description": corpus.description,
        "licence": corpus.licence,
        "citation": corpus.citation,
        "files": [
            {"name": source.name, "size": source.size, "checksum": source.checksum, "urls": list(source.urls)}
            for source in corpus.files
        ],
        "instead": [
            {"name": source.name, "size": source.size, "checksum": source.checksum} for source in corpus.instead
        ],
        "published": [
            {key: value for key, value in asdict(published).items() if value is not None}
            for published in corpus.published
        ],
        "levels": list(corpus.levels),
        **({"entropy_rate": asdict(corpus.entropy_rate)} if corpus.entropy_rate is not None else {}),
        **({"images": asdict(corpus.images)} if corpus.images is not None else {}),
        "prepared": ready is not None,
        "folder": str(prepared_folder(corpus.name)),
        **({"splits": ready.facts["splits"], "types": ready.facts["types"]} if ready is not None else {}),
    }


def corpus_lines(corpus: Corpus) -> list[str]:
    """The same for people."""
    lines = [f"{corpus.name}: {corpus.description}", f"licence: {corpus.licence}", f"cite: {corpus.citation}"]
    if corpus.files:
        lines += ["files:", *(f"  {describe(source)}" for source in corpus.files)]
    if corpus.instead:
        lines += ["or instead of these:", *(f"  {describe(source)}" for source in corpus.instead)]
    if (rate := corpus.entropy_rate) is not None:
        bound = "" if rate.exact else " at most"
        lines.append(
            f"entropy rate:{bound} {rate.stripped:.4f} bits per symbol without spaces, {rate.with_spaces:.4f} with"
        )
    ready = find_prepared(corpus)
    if ready is not None:
        return lines + prepared_lines(ready)
    for published in corpus.published:
        parts = "train / valid / test" if published.valid is not None else "the whole"
        lines.append(f"published {published.unit} counts ({parts}): {_published(published)}")
    later = "prepared when it is first used" if not corpus.files else f"`lsseq data prepare {corpus.name}` prepares it"
    return [*lines, f"not prepared; {later}"]


def listed(corpora: Mapping[str, Corpus]) -> list[str]:
    """One line a corpus."""
    width = max(map(len, corpora), default=0)
    return [
        f"{name.ljust(width)}  {'prepared' if find_prepared(corpus) else '-':8}  {corpus.description}"
        for name, corpus in corpora.items()
    ]


def script(corpus: Corpus) -> None:
    """What `python data_scripts/NAME.py [--from FOLDER]` does."""
    parser = argparse.ArgumentParser(description=f"Prepare the corpus {corpus.name}: {corpus.description}")
    parser.add_argument("--from", dest="folder", type=Path, help="take the files from this folder (plain or .gz)")
    arguments = parser.parse_args()
    try:
        print("\n".join(prepared_lines(prepare(corpus, arguments.folder))))
    except LsseqError as error:
        print(render(error), file=sys.stderr)
        sys.exit(error.exit_code)
