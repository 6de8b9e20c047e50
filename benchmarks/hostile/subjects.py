"""What lsseq reads that others may have written, how it is damaged, and the commands that read it."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shlex
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hostile import mutations
from hostile.mutations import Mutation
from lsseq.cli import group, main
from lsseq.data.download import FetchError, extract
from lsseq.errors import RequestError
from lsseq.recipe import dump_recipe, load_recipe
from lsseq.recipe.catalogue import entries
from lsseq.recipe.keys import every_key
from lsseq.sweep.space import check, parse, read_spaces, split

Files = dict[str, bytes]
"""Contents by path in the folder in which a command runs."""
RECIPE = """\
data: {data}
model: {model}
training: {{batch: 4, bptt: 20, steps: 3, log_every: 1, evaluate_every: 2, device: cpu, threads: 1}}
evaluation: {{window: 50}}
"""
_NOISE = "zoneout: {cell: 0.5, hidden: 0.05}, dropout: {output: 0.2}"
_DEPTH = "layers: 2, stack: {kind: residual, stochastic_depth: {}}"
RUNS = {
    "chars": ("{text: text.txt}", f"{{hidden: 8, embedding: 4, {_NOISE}}}"),
    "bytes": ("{text: text.txt, unit: byte}", f"{{hidden: 8, embedding: 4, {_DEPTH}}}"),
    "words": ("{text: text.txt, unit: word, minimum_count: 2}", "{hidden: 8, embedding: 4, recurrence: gru, rank: 2}"),
    "pieces": ("{text: text.txt, unit: sentencepiece, vocabulary_size: 380}", "{hidden: 8, embedding: 4}"),
    "boundaries": ("{text: text.txt, strip_spaces: true}", "{recurrence: hm-lstm, layers: 2, hidden: 8, embedding: 4}"),
    "task": ("{task: {kind: adding, length: 10, examples: 20}}", "{hidden: 8}"),
}
"""Data and model of the small runs that are damaged."""


@dataclass(frozen=True)
class Case:
    """Something to read, and how."""

    files: Files
    action: Callable[[], object]
    told: str
    """What it is, for a person."""
    arguments: Sequence[str] | None = None
    """Where it is a command line."""
    may_last: bool = False


class Subjects:
    """Makes cases.

    Args:
        folder: the one in which all cases run; runs are trained there once.
    """

    def __init__(self, folder: Path) -> None:
        self._runs = {name: _trained(folder, name) for name in RUNS}
        self._recipes = [dump_recipe(load_recipe(entry.path).recipe).encode() for entry in entries()[::10]]
        self._recipes += [entry.path.read_bytes() for entry in entries()[::10]]
        self._named: dict[str, tuple[int, Callable[[random.Random], Case]]] = {
            "recipes": (20, self._recipe),
            "command lines": (20, self._command_line),
            "vocabularies": (12, self._vocabulary),
            "sentencepiece models": (6, self._pieces),
            "checkpoints": (8, self._checkpoint),
            "checkpoints with the right sums": (14, self._sealed_checkpoint),
            "other JSON and YAML of runs": (10, self._of_run),
            "metrics": (10, self._metrics),
            "texts": (14, self._text),
            "archives": (8, self._archive),
            "spaces of sweeps": (4, self._space),
        }

    @property
    def names(self) -> Sequence[str]:
        return list(self._named)

    def case(self, generator: random.Random) -> tuple[str, Case]:
        """One of them, by how often each is worth it."""
        name = generator.choices(self.names, [weight for weight, _ in self._named.values()])[0]
        return name, self._named[name][1](generator)

    def _recipe(self, generator: random.Random) -> Case:
        content = mutations.of_yaml(generator.choice(self._recipes), generator)
        return _read({"recipe.yaml": content}, generator, *_READ_RECIPE)

    def _command_line(self, generator: random.Random) -> Case:
        name = generator.choice(list(RUNS))
        return _commanded(self._runs[name], command_line(generator), may_last=True)

    def _vocabulary(self, generator: random.Random) -> Case:
        name = generator.choice(("chars", "words", "boundaries", "pieces"))
        files = dict(self._runs[name])
        files["run/vocabulary.json"] = content = mutations.of_json(files["run/vocabulary.json"], generator)
        if generator.random() < 0.3:
            file = generator.choice(("v.json", "v.txt", "v.pt"))
            files[file] = content if file == "v.json" else mutations.of_text(files["text.txt"][:300], generator)
            if file == "v.pt" and generator.random() < 0.7:
                files[file] = generator.choice((b"PK\x03\x04", b"\x80\x02", b"\x80\x04cos\nsystem\n")) + files[file]
            return _commanded(files, ["train", "recipe.yaml", f"data.vocabulary={file}", "--run", "new"])
        return _read(files, generator, *_READ_RUN)

    def _pieces(self, generator: random.Random) -> Case:
        files = dict(self._runs["pieces"])
        model = next(path for path in files if path.startswith("run/") and path.endswith(".model"))
        files[model] = mutations.of_bytes(files[model], generator)
        values = json.loads(files["run/vocabulary.json"])
        values["sha256"] = hashlib.sha256(files[model]).hexdigest()
        files["run/vocabulary.json"] = json.dumps(values).encode()
        return _read(files, generator, *_READ_RUN)

    def _checkpoint(self, generator: random.Random) -> Case:
        files = dict(self._runs[generator.choice(list(RUNS))])
        path = generator.choice([path for path in files if "checkpoints" in path])
        files[path] = _mutation_for(path)(files[path], generator)
        return _read(files, generator, *_READ_CHECKPOINT)

    def _sealed_checkpoint(self, generator: random.Random) -> Case:
        """Whoever can change a file can change its sum."""
        files = dict(self._runs[generator.choice(list(RUNS))])
        path = generator.choice([path for path in files if "checkpoints" in path and "checkpoint.json" not in path])
        files[path] = _mutation_for(path)(files[path], generator)
        manifest = str(Path(path).with_name("checkpoint.json"))
        values = json.loads(files[manifest])
        for entry in values["files"].values():
            if entry["name"] == Path(path).name:
                entry.update(bytes=len(files[path]), sha256=hashlib.sha256(files[path]).hexdigest())
        files[manifest] = json.dumps(values).encode()
        return _read(files, generator, *_READ_CHECKPOINT)

    def _of_run(self, generator: random.Random) -> Case:
        files = dict(self._runs[generator.choice(list(RUNS))])
        near = [path for path in files if path.count("/") == 1 and path.endswith((".json", ".yaml"))]
        path = generator.choice(near)
        files[path] = _mutation_for(path)(files[path], generator)
        return _read(files, generator, *_READ_RUN, *_READ_CHECKPOINT)

    def _metrics(self, generator: random.Random) -> Case:
        files = dict(self._runs[generator.choice(list(RUNS))])
        path = "run/metrics.jsonl"
        files[path] = mutations.of_json_lines(files[path], generator)
        return _read(files, generator, *_COMPARE, *_COMPARE, _RESUME)

    def _text(self, generator: random.Random) -> Case:
        name = generator.choice([name for name in RUNS if name != "task"])
        files = dict(self._runs[name])
        files["other.txt"] = mutations.of_text(files["text.txt"][:5000], generator)
        files["gold.txt"] = mutations.of_text(files["other.txt"], generator)
        return _read(files, generator, *_READ_TEXT)

    def _archive(self, generator: random.Random) -> Case:
        content = mutations.of_bytes(archive(generator), generator) if generator.random() < 0.5 else archive(generator)
        member = generator.choice(("a/b.txt", "../x", "/x", "a", "", "."))

        def take() -> None:
            try:
                extract(Path("archive"), member, Path("taken"), largest=1000)
            except FetchError as error:
                raise RequestError(str(error)) from error

        return Case({"archive": content}, take, f"extract {member!r}")

    def _space(self, generator: random.Random) -> Case:
        spaces = b"training.lr: log:1e-4..1e-2\nmodel.hidden: [4, 8]\nmodel.zoneout.cell: 0.1..0.5\ntraining.seed: 1\n"
        files = {"space.yaml": mutations.of_yaml(spaces, generator), "recipe.yaml": self._runs["chars"]["recipe.yaml"]}

        def read() -> None:
            fixed, searched = split(read_spaces([], Path("space.yaml")))
            check("recipe.yaml", {key: parse(key, text) for key, text in searched.items()}, fixed)

        return Case(files, read, "read space.yaml")


_READ_RECIPE = (
    ["recipes", "check", "recipe.yaml"],
    ["recipes", "show", "recipe.yaml"],
    ["recipes", "copy", "recipe.yaml", "new.yaml"],
)
_READ_TEXT = (
    ["eval", "run", "--text", "other.txt"],
    ["eval", "run", "--text", "other.txt", "--tokens", "tokens.tsv", "--streams", "3"],
    ["boundaries", "run", "--text", "other.txt", "--html", "new.html", "--positions", "new.tsv"],
    ["boundaries", "run", "--text", "other.txt", "--gold", "gold.txt"],
    ["train", "recipe.yaml", "data.text=other.txt", "--run", "new"],
)
_READ_RUN = (
    ["eval", "run"],
    ["eval", "run", "--text", "text.txt"],
    ["generate", "run", "--length", "20", "--prompt", "the "],
    ["boundaries", "run"],
    ["export", "run", "--format", "python"],
)
_COMPARE = (
    ["compare", "run", "--html", "new.html", "--csv", "new.csv", "--markdown", "new.md"],
    ["compare", ".", "--group", "--json"],
)
_RESUME = ["train", "--run", "run", "--resume", "training.steps=4"]
_READ_CHECKPOINT = (
    ["eval", "run", "--checkpoint", "best"],
    ["eval", "run", "--checkpoint", "last", "--samples", "2"],
    ["compare", "run", "--test"],
    ["compress", "run", "--rank", "2", "--run", "new"],
    ["train", "recipe.yaml", "--from", "run", "--run", "new"],
    _RESUME,
)


def _read(files: Files, generator: random.Random, *commands: list[str]) -> Case:
    return _commanded(files, generator.choice(commands))


def _commanded(files: Files, arguments: list[str], *, may_last: bool = False) -> Case:
    return Case(files, lambda: main(arguments), f"lsseq {shlex.join(arguments)}", arguments, may_last)


def _mutation_for(path: str) -> Mutation:
    kinds = {".json": mutations.of_json, ".yaml": mutations.of_yaml, ".safetensors": mutations.of_safetensors}
    return kinds.get(Path(path).suffix, mutations.of_bytes)


def _trained(folder: Path, name: str) -> Files:
    """The files of a run that three steps made, with its text and recipe."""
    from pydoc_data.topics import topics

    data, model = RUNS[name]
    text = "".join(topics[key] for key in sorted(topics))[:6000]
    (folder / "text.txt").write_bytes(text.encode("ascii", errors="replace"))
    (folder / "recipe.yaml").write_text(RECIPE.format(data=data, model=model), encoding="utf-8")
    for arguments in (["train", "recipe.yaml", "--run", "run"], ["compare", "run", "--test"]):
        try:
            main(arguments)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"the run {name} was not made") from end
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return files


def command_line(generator: random.Random) -> list[str]:
    """A verb with some of its options, values that are right or not, and keys of recipes.

    Without those that take long whatever is given: `bench` and `doctor`, which time what this machine has, `sweep`,
    which trains as often as it is told, `export` in all its forms, and `--watch`.
    """
    verbs = ["train", "eval", "data", "generate", "compare", "boundaries", "recipes", "compress"]
    verb = generator.choice(verbs)
    words = [verb]
    command: Any = group.get_command(click.Context(group), verb)
    if hasattr(command, "commands"):
        inner = generator.choice(list(command.commands))
        words.append(inner)
        command = command.commands[inner]
    values = _values(generator)
    options = [one for one in command.params if one.opts[0].startswith("--") and one.name != "watch"]
    for option in generator.sample(options, min(len(options), generator.choice((0, 1, 1, 2, 3)))):
        words.append(option.opts[0])
        if not option.is_flag or generator.random() < 0.05:
            words.append(next(values))
    if generator.random() < 0.8:
        words.append("recipe.yaml" if verb in ("train", "recipes") else "run")
    words += [next(values) for _ in range(generator.choice((0, 0, 0, 1, 2)))]
    keys = [key.path for key in every_key()]
    words += [f"{generator.choice(keys)}={next(values)}" for _ in range(generator.choice((0, 0, 1, 2)))]
    if generator.random() < 0.1:
        generator.shuffle(words)
    return [word.replace("\0", "") for word in words]  # No command line can have one.


def _values(generator: random.Random) -> Iterator[str]:
    right = (
        "1",
        "2",
        "0",
        "0.5",
        "run",
        "text.txt",
        "recipe.yaml",
        "new",
        "auto",
        "cpu",
        "best",
        "valid",
        "true",
        "lstm",
    )
    words = (*mutations.ODD_WORDS, *mutations.ODD_BYTES, *mutations.ODD_YAML[:16])
    # Whoever types a path means it.
    odd = [word.decode("latin-1") for word in words if b"/" not in word]
    while True:
        yield generator.choice(right) if generator.random() < 0.6 else generator.choice([*odd, "-", "--", "=", "a=b"])


def archive(generator: random.Random) -> bytes:
    """A .zip or tar file with members that an honest one does not have."""
    content = generator.choice((b"text", b"\0" * 5_000_000, b""))
    names = ["a/b.txt", "../x", "/x", "a/../../x", "a\\b.txt", "a/b.txt/", ".", "con", "a/b.txt"]
    out = io.BytesIO()
    if generator.random() < 0.5:
        with zipfile.ZipFile(out, "w", generator.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
            for name in dict.fromkeys(generator.choices(names, k=3)):
                packed.writestr(name, content)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode=generator.choice(("w", "w:gz", "w:xz"))) as tape:
        for name in generator.choices(names, k=3):
            info = tarfile.TarInfo(name)
            info.type = generator.choice(
                (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
            )
            info.linkname = generator.choice(("/etc/passwd", "../x", "a/b.txt", ""))
            info.size = len(content) if info.isreg() else 0
            tape.addfile(info, io.BytesIO(content))
    return out.getvalue()


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """The files of a case, in a folder that has nothing else."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
