"""The test split, measured once and kept beside the run in test.json.

The file says of which weights and by which settings its figures are; where the run has others by now, they do not
count.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from lsseq.errors import LsseqError
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder, digest_of, files

FILE = "test.json"


def kept_test(folder: RunFolder, recipe: Recipe) -> dict[str, Any] | None:
    """The figures that were measured of the run's best checkpoint as it is now, or None."""
    try:
        kept = json.loads((folder.path / FILE).read_text(encoding="utf-8"))
        return kept["figures"] if kept["of"] == _of(folder, recipe) else None
    except (OSError, ValueError, KeyError, TypeError, LsseqError):
        return None


def measure_test(folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """Measure the best checkpoint on test, and keep the figures where the folder can be written to.

    Returns:
        What `lsseq eval --split test --json` prints, but for what is expected; and where there are enough tokens,
        `interval` ({FIGURE: [low, high]}) and `interval_method`.

    Raises:
        RequestError: the text has no test split, or is not here.
        RunError: the checkpoint is damaged.
    """
    of = _of(folder, recipe)
    figures = _measure_text(folder) if recipe.data.task is None else _measure_task(folder, recipe)
    with suppress(OSError):
        files.replace(folder.path / FILE, json.dumps({"of": of, "figures": figures}, indent=2).encode() + b"\n")
    return figures


def _of(folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    return {"weights": digest_of(folder.checkpoint("best")), "evaluation": recipe.evaluation.model_dump(mode="json")}


def _measure_text(folder: RunFolder) -> dict[str, Any]:
    from lsseq.api import load
    from lsseq.evaluation import figures
    from lsseq.evaluation.evaluate import evaluate, find_split
    from lsseq.evaluation.interval import mean_interval
    from lsseq.evaluation.reading import Tokenwise

    trained = load(folder.path)
    split = find_split(trained.recipe.data, trained.vocabulary, "test")
    each = Tokenwise()
    values = evaluate(trained.model, split, trained.vocabulary, trained.recipe, device=trained.device, keep=each)
    values["split"] = "test"
    interval = mean_interval(each.nll())
    if interval is not None:
        ends = [
            figures(
                nll * values["tokens"],
                values["tokens"],
                unit=trained.vocabulary.unit,
                lossless=trained.vocabulary.lossless,
                characters=split.characters,
                text_bytes=split.bytes,
            )
            for nll in (interval.low, interval.high)
        ]
        values["interval"] = {name: [end[name] for end in ends] for name in ends[0]}
        values["interval_method"] = str(interval)
    return values


def _measure_task(folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    from lsseq.data.tasks import open_task
    from lsseq.evaluation.answers import evaluate_examples
    from lsseq.evaluation.interval import share_interval
    from lsseq.runs import load_task
    from lsseq.training.device import choose_device

    assert recipe.data.task is not None
    device = choose_device("auto")
    trained = load_task(folder.path, "best", str(device))
    examples = open_task(recipe.data, recipe.data.task, folder.path)
    values = evaluate_examples(trained.model, examples, "test", device=device)
    # Answers within one sequence depend on each other.
    if "accuracy" in values and values["answers"] == values["sequences"]:
        values["interval"] = {"accuracy": list(share_interval(values["accuracy"], values["answers"]))}
        values["interval_method"] = f"95 %, Wilson's, of {values['answers']:,} answers"
    return values
