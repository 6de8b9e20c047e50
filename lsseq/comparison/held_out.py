"""The test split, measured once in each of some ways, each kept beside the run in a file of its own.

A file says of which weights and by which settings its figures are; where the run has others by now, they do not count.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lsseq.errors import LsseqError, RequestError
from lsseq.json_text import parse_json
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder, digest_of, files
from lsseq.runs.saved import Figure

Way = Literal["deterministic", "samples", "dynamic"]
"""The model as it was trained, the mean over draws of its noise, or dynamic evaluation."""

FILES: dict[Way, str] = {
    "deterministic": "test.json",
    "samples": "test-samples.json",
    "dynamic": "test-dynamic.json",
}


def kept_test(folder: RunFolder, recipe: Recipe, way: Way = "deterministic") -> dict[str, Any] | None:
    """The figures that were measured of the run's best checkpoint as it is now, or None."""
    try:
        kept = parse_json((folder.path / FILES[way]).read_text(encoding="utf-8"))
        _Measured.model_validate(kept["figures"])
        figures: dict[str, Any] | None = kept["figures"] if kept["of"] == _of(folder, recipe) else None
    except (OSError, ValueError, KeyError, TypeError, LsseqError):
        return None
    return figures


class _Measured(BaseModel):
    """What is shown of kept figures; there are others."""

    model_config = ConfigDict(strict=True)

    nll: Figure = None
    perplexity: Figure = None
    bpc: Figure = None
    bpb: Figure = None
    accuracy: Figure = None
    mse: Figure = None
    interval: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    single: dict[str, Figure] | None = None
    samples: int | None = None


def measure_test(
    folder: RunFolder, recipe: Recipe, way: Way = "deterministic", samples: int | None = None
) -> dict[str, Any]:
    """Measure the best checkpoint on test, and keep the figures where the folder can be written to.

    Args:
        folder, recipe: the run.
        way: how it is measured.
        samples: how many draws, of `samples`; their seed is 0.

    Returns:
        What `lsseq eval --split test --json` prints with the option of that name, but for what is expected; and of
        `deterministic`, where there are enough tokens, `interval` ({FIGURE: [low, high]}) and `interval_method`.

    Raises:
        RequestError: the text has no test split, or is not here; the model cannot be measured so.
        RunError: the checkpoint is damaged.
    """
    of = _of(folder, recipe)
    if recipe.data.task is None:
        figures = _measure_text(folder) if way == "deterministic" else _measure_otherwise(folder, way, samples)
    elif way == "deterministic":
        figures = _measure_task(folder, recipe)
    else:
        raise RequestError("draws and dynamic evaluation are for language models")
    with suppress(OSError):
        content = json.dumps({"of": of, "figures": figures}, indent=2).encode() + b"\n"
        files.replace(folder.path / FILES[way], content)
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
    split = find_split(trained.recipe.data, trained.vocabulary, "test", trained.fingerprint)
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


def _measure_otherwise(folder: RunFolder, way: Way, samples: int | None) -> dict[str, Any]:
    from lsseq.api import load
    from lsseq.evaluation import ensemble
    from lsseq.evaluation.evaluate import evaluate, find_split

    trained = load(folder.path)
    split = find_split(trained.recipe.data, trained.vocabulary, "test", trained.fingerprint)
    subject = (trained.model, split, trained.vocabulary, trained.recipe)
    if way == "dynamic":
        values = evaluate(*subject, mode="dynamic", device=trained.device)
    else:
        assert samples is not None
        values = ensemble.sampled(*subject, samples=samples, seed=0, device=trained.device)
    return {**values, "split": "test"}


def _measure_task(folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    from lsseq.data.tasks import open_task
    from lsseq.evaluation.answers import evaluate_examples
    from lsseq.evaluation.interval import share_interval
    from lsseq.runs import load_task
    from lsseq.training.device import choose_device

    assert recipe.data.task is not None
    device = choose_device("auto")
    trained = load_task(folder.path, "best", str(device))
    examples = open_task(recipe.data, recipe.data.task, folder.path, trained.fingerprint)
    values = evaluate_examples(trained.model, examples, "test", device=device)
    # Answers within one sequence depend on each other.
    if "accuracy" in values and values["answers"] == values["sequences"]:
        values["interval"] = {"accuracy": list(share_interval(values["accuracy"], values["answers"]))}
        values["interval_method"] = f"95 %, Wilson's, of {values['answers']:,} answers"
    return values
