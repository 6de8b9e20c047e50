"""Memory and speed of a text that is larger than memory may be: prepared, encoded, trained on, and read by a model.

    python benchmarks/large_text.py FOLDER [--megabytes 50 200] [--units char word sentencepiece]

For each size a text is made in FOLDER, and each row of the table is a process of its own, on one thread: what it took
at its peak (resident memory), and its processor time (`resource.getrusage`), which other work does not add to. The text
has the word frequencies of natural language (Zipf's law), and like it never runs out of new words, so that whatever is
counted grows with it.

`prepare` is what `lsseq data prepare` does, `train` is `lsseq train` with a few steps: the first one, which builds the
vocabulary and encodes the text, and one more, which finds both; `eval --text` and `boundaries --text` read a tenth as
much, by characters, and the former writes the surprisal of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MEGABYTE = 1_000_000
VALID = 20_000
"""Bytes of the validation text: it is measured once by each training."""
READ = 10
"""The text that the model reads is smaller so many times."""
WORDS_A_LINE = 12

PREPARE = """
from lsseq.data.corpus import Corpus, Source, cut_at
from lsseq.data.prepare import prepare
path = Path(sys.argv[1])
mark = int(path.stat().st_size * 0.9)
prepare(Corpus("generated", "", "", "", cut_at(path.name, mark, mark + 1000), (Source(path.name),)), path.parent)
"""
COMMAND = """
from lsseq.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    if ended.code:
        raise
"""
MEASURED = """
import os, resource, sys
from pathlib import Path
{code}
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024), used.ru_utime + used.ru_stime)
"""


def lines(seed: int = 0) -> Iterator[bytes]:
    """Lines of words, without an end."""
    rng = np.random.default_rng(seed)
    while True:
        # Word r has a share of about r ** -1.4, so that n words in all are about n ** 0.7 different ones.
        ranks = (rng.random(WORDS_A_LINE * 10_000) ** -2.5).clip(max=2**62).astype(np.int64)
        words = [spelled(rank) for rank in ranks.tolist()]
        for start in range(0, len(words), WORDS_A_LINE):
            yield b" ".join(words[start : start + WORDS_A_LINE]) + b"\n"


def spelled(rank: int) -> bytes:
    """A word for a rank: its digits in base 26."""
    letters = bytearray()
    while rank:
        rank, letter = divmod(rank, 26)
        letters.append(97 + letter)
    return bytes(letters)


def write(path: Path, size: int, seed: int = 0) -> None:
    """A text of at least `size` bytes, to the end of its last line."""
    with path.open("wb") as file:
        for line in lines(seed):
            if file.tell() >= size:
                break
            file.write(line)


def measured(code: str, *arguments: object, data: Path) -> tuple[float, float]:
    """MiB at the peak and processor seconds of a process."""
    environment = {**os.environ, "LSSEQ_DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED.format(code=code), *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    peak, seconds = done.stdout.split()[-2:]
    return int(peak) / 2**20, float(seconds)


def rows(folder: Path, megabytes: int, units: list[str]) -> Iterator[tuple[str, float, float]]:
    """What is measured with a text of one size: name, MiB, seconds."""
    place = folder / f"{megabytes}"
    place.mkdir(parents=True, exist_ok=True)
    text, part, valid, data = place / "text.txt", place / "part.txt", place / "valid.txt", place / "data"
    write(text, megabytes * MEGABYTE)
    write(part, megabytes * MEGABYTE // READ, seed=1)
    write(valid, VALID, seed=2)
    yield "prepare", *measured(PREPARE, text, data=data)
    for unit in units:
        run = place / f"run-{unit}"
        keys = [f"data.text={{train: {text}, valid: {valid}}}", f"data.unit={unit}", "data.vocabulary_size=8000"]
        keys += ["model.hidden=32", "model.embedding=16", "training.steps=5"]
        for name in ("first", "again"):
            train = ("train", "quickstart", *keys, "--run", f"{run}-{name}")
            yield f"train, {unit}, {name}", *measured(COMMAND, *train, data=data)
    if "char" in units:
        read = (place / "run-char-first", "--text", part)
        surprisals = ("--tokens", place / "surprisals.tsv")
        yield "eval", *measured(COMMAND, "eval", *read, "--streams", 32, *surprisals, data=data)
        yield "boundaries", *measured(COMMAND, "boundaries", *read, "--limit", 0, data=data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where the texts and all that is made of them go")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--units", nargs="+", default=["char", "word", "sentencepiece"])
    options = parser.parse_args()
    print("| | text, MB | peak, MiB | seconds | MB/s |\n|---|---|---|---|---|", flush=True)
    for megabytes in options.megabytes:
        for name, peak, seconds in rows(options.folder, megabytes, options.units):
            size = megabytes if not name.startswith(("eval", "boundaries")) else megabytes / READ
            print(f"| {name} | {size:g} | {peak:,.0f} | {seconds:.1f} | {size / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
