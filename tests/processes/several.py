"""Small trainings that one process and several can do alike; as a script, one of several processes doing them all.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29400 python several.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from lsseq.data import Split
from lsseq.data.batches import TrainingWindows, training_windows
from lsseq.data.tasks import ExampleWindows, open_task
from lsseq.data.vocabulary import ByteVocabulary
from lsseq.evaluation import measure_split
from lsseq.evaluation.answers import measure_examples
from lsseq.model.base import SequenceModel
from lsseq.model.factory import build_answering, build_model
from lsseq.processes.group import ALONE, Processes, joined
from lsseq.recipe.schema import Evaluation, Recipe
from lsseq.runs import write_checkpoint
from lsseq.training.state import LoopState
from lsseq.training.step import make_step

SYMBOLS, STEPS = 13, 16
TOKENS = torch.arange(900).pow(2).remainder(97).remainder(SYMBOLS).numpy()
NOISY = {
    "dropout": {"embedding": 0.2, "input": 0.2, "output": 0.3, "hidden": 0.2, "weight": 0.2},
    "zoneout": {"cell": 0.5, "hidden": 0.1},
}
RESIDUAL = {"kind": "residual", "stochastic_depth": {"survival": 0.5, "over": "batch", "state": "freeze"}}
FRACTAL = {"kind": "fractal", "columns": 2, "drop_path": {"over": "sequence", "state": "freeze"}}
TIED = {"kind": "tied", "steps": 2, "random_steps": {"mean": 2.0, "most": 4}}
MODELS: dict[str, dict[str, Any]] = {
    "regularised": {
        "model": {"hidden": [9, 7], "layers": 2, "regularisation": {"activation": 2, "slowness": 1}, **NOISY},
        "training": {
            "accumulate": 3, "random_bptt": True, "clip": 0.2, "averaging": {"kind": "ema", "decay": 0.9},
            "optimizer": "sgd", "lr": 1.0, "momentum": 0.5,
        },
    },
    "pieces": {
        "model": {"recurrence": "gru", "layers": 2, "recompute": True, "zoneout": {"hidden": 0.3}},
        "training": {"windows": "pieces", "clip": 0.05, "clip_by": "update"},
    },
    "batch-norm": {"model": {"norm": "batch", "norm_steps": 12, "zoneout": {"cell": 0.2}}},
    "hierarchical": {
        "model": {
            "recurrence": "hm-lstm", "layers": 3, "hidden": 8,
            "boundary": {
                "detector": "sample", "slope": {"per_epoch": 0.5}, "target": "own-surprise",
                "prior": {"kind": "ratio", "rate": [0.4, 0.2]},
            },
        }
    },
    "binomial": {
        "model": {
            "recurrence": "hm-lstm", "layers": 2, "hidden": 8,
            "boundary": {"prior": {"kind": "binomial", "rate": 0.3}},
        }
    },
    "layers-left-out": {"model": {"layers": 3, "stack": RESIDUAL, "zoneout": {"cell": 0.3, "hidden": 0.0}}},
    "columns-left-out": {"model": {"layers": 2, "stack": FRACTAL, "zoneout": {"cell": 0.3, "hidden": 0.0}}},
    "repeated": {"model": {"stack": TIED, "learned_initial_state": True}, "training": {"optimizer": "adamw"}},
    "adaptive": {
        "data": {"text": "unused", "unit": "word"},
        "model": {"adaptive_softmax": [3], "hidden": 16},
    },
    "adding": {"data": {"task": {"kind": "adding", "length": 8, "examples": 40}}, "model": {"dropout": {"input": 0.2}}},
    "copy": {
        "data": {"task": {"kind": "copy", "delay": 3, "vary": "symbols", "examples": 40}},
        "training": {"accumulate": 2},
    },
}  # fmt: skip


def recipe_of(name: str) -> Recipe:
    values: dict[str, Any] = {
        "data": {"text": "unused"},
        "model": {"hidden": 10, "embedding": 6, "backend": "auto"},
        "training": {"batch": 4, "bptt": 12, "steps": STEPS, "lr": 1e-2, "clip": 1.0},
    }
    for section, keys in MODELS[name].items():
        values[section] = keys if section == "data" else values[section] | keys
    return Recipe.model_validate(values)


def start(name: str, processes: Processes = ALONE) -> LoopState:
    """A training before its first step, in float64."""
    recipe = recipe_of(name)
    torch.manual_seed(recipe.training.seed)
    model: SequenceModel
    windows: TrainingWindows
    if recipe.data.task is None:
        model, windows = (
            build_model(recipe.model, SYMBOLS),
            training_windows(TOKENS, recipe.training, 0),
        )
    else:
        examples = open_task(recipe.data, recipe.data.task)
        model, windows = build_answering(recipe.model, examples.form), ExampleWindows(examples, recipe.training)
    model.double().train()
    return LoopState.start(model, windows, recipe.training, torch.device("cpu"), processes)


def go_on(name: str, state: LoopState, until: int = STEPS) -> list[dict[str, Any]]:
    """What each step says."""
    said = []
    while state.step < until:
        make_step(state, recipe_of(name).training)
        error, norm = state.meter.means()
        told = {key: value.tolist() for key, value in state.told.items()}
        said.append(
            {"error": error, "norm": norm, "lr": state.lr, "tokens": state.tokens, "epoch": state.epoch, **told}
        )
        state.meter.reset(0.0)
    return said


def measure(name: str, state: LoopState) -> list[dict[str, Any]]:
    """The figures of a validation split, in ways that give the processes unlike shares, or one of them none."""
    state.model.eval()
    recipe, processes = recipe_of(name), state.processes
    if recipe.data.task is not None:
        examples = open_task(recipe.data, recipe.data.task)
        return [measure_examples(state.model, examples, "valid", device="cpu", processes=processes)]
    split = Split(TOKENS[:200], None, 200)
    found = [
        measure_split(
            state.model, split, ByteVocabulary(), Evaluation(window=30, pieces=pieces),
            streams=streams, device="cpu", processes=processes,
        )
        for streams, pieces in [(1, None), (3, None), (2, 7)]
    ]  # fmt: skip
    state.model.train()
    return found


def main(folder: Path) -> None:
    with joined(torch.device("cpu")) as processes:
        for name in MODELS:
            state = start(name, processes)
            said = go_on(name, state, STEPS // 2)
            saved = state.save()
            state = start(name, processes)
            state.restore(*saved)
            said += go_on(name, state)
            figures, saved = measure(name, state), state.save()
            if processes.lead:
                write_checkpoint(folder / name, *saved)
                (folder / f"{name}.json").write_text(json.dumps({"said": said, "figures": figures}))
    if processes.lead:
        (folder / "threads.json").write_text(json.dumps(threads()))


def threads() -> list[str]:
    """The names of this process's threads; none where the system does not tell."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
