"""`lsseq train` as a person or a script meets it: real processes, real signals, real exit codes."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsseq.runs import read_metrics, read_values

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]

RECIPE = """\
data: {{text: {text}}}
model: {{hidden: 16, embedding: 8}}
training:
  batch: 8
  bptt: 20
  steps: 60
  log_every: 10
  evaluate_every: 20
evaluation: {{window: 50}}
"""

ZONEOUT = ("model.zoneout.cell=0.5", "model.zoneout.hidden=0.05", "model.dropout.output=0.2", "model.dropout.input=0.1")
NT_ASGD = (
    "training.optimizer=sgd", "training.lr=4", "training.clip=0.25", "training.random_bptt=true",
    "training.averaging={kind: nt-asgd, patience: 1}", "model.dropout.weight=0.3",
)  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE.format(text=small_text))
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory, run_cli: RunCli) -> tuple[Path, dict[str, Any]]:
    """A run that is done, and what it printed. Its tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    result = run_cli("train", recipe, "--json", check=0, cwd=folder)
    return folder / "runs" / "small", json.loads(result.stdout) | {"stderr": result.stderr}


def losses(run: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "tokens_per_second")}
        for line in read_metrics(run / "metrics.jsonl")
    ]


def lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lsseq", "train", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(process: subprocess.Popen[str], run: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while lines(run) < number and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_json_keys(finished: tuple[Path, dict[str, Any]]) -> None:
    run, printed = finished
    stderr = printed.pop("stderr")
    assert set(printed) == {
        "run", "steps", "epochs", "seconds", "tokens_per_second", "parameters", "best", "final",
    }  # fmt: skip
    assert (printed["run"], printed["steps"]) == (str(Path("runs/small")), 60)
    assert printed["final"].keys() == {"step", "nll", "perplexity", "bpc"}
    assert printed["final"]["step"] == 60
    assert printed["best"]["nll"] <= printed["final"]["nll"]
    assert "step 60, epoch 0: valid bpc" in stderr
    assert printed["parameters"] > 1000
    assert run.is_dir()


def test_run_folder(finished: tuple[Path, dict[str, Any]]) -> None:
    run, printed = finished
    assert {path.name for path in run.iterdir()} - {"tensorboard", ".lock"} == {
        "recipe.yaml", "environment.json", "metrics.jsonl", "vocabulary.json", "checkpoints",
    }  # fmt: skip
    environment = json.loads((run / "environment.json").read_text())
    assert {
        "lsseq",
        "python",
        "torch",
        "numpy",
        "device",
        "threads",
        "seed",
        "command",
        "started",
    } <= environment.keys()
    assert environment["command"].startswith("lsseq train ")
    assert [(line["step"], line["split"]) for line in losses(run)] == [
        (10, "train"), (20, "train"), (20, "valid"), (30, "train"), (40, "train"), (40, "valid"), (50, "train"),
        (60, "train"), (60, "valid"),
    ]  # fmt: skip
    assert read_values(run / "checkpoints" / "last")["best"]["step"] == printed["best"]["step"]


def test_the_resolved_recipe_repeats_the_run(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, run_cli: RunCli
) -> None:
    run, _ = finished
    again = tmp_path / "once more"
    shown = run_cli("train", run / "recipe.yaml", "--run", again, check=0).stdout
    assert losses(again) == losses(run)
    assert f"next: lsseq eval '{again}' --split test\n" in shown
    assert f"lsseq generate '{again}'" in shown


def test_the_next_command_names_a_split_that_exists(
    recipe: Path, small_text: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    text = f"data.text={{train: '{small_text}', valid: '{small_text}'}}"
    shown = run_cli("train", recipe, text, "training.steps=1", "--run", tmp_path / "run", check=0).stdout
    assert f"next: lsseq eval {tmp_path / 'run'} --split valid\n" in shown


def test_resuming_a_finished_run_prints_its_result_and_a_larger_budget_goes_on(
    recipe: Path, tmp_path: Path, finished: tuple[Path, dict[str, Any]], run_cli: RunCli
) -> None:
    run = tmp_path / "run"
    run_cli("train", recipe, "--run", run, "training.steps=25", check=0)
    before = (run / "metrics.jsonl").read_bytes()
    again = run_cli("train", "--run", run, "--resume", check=0)
    assert "this run is finished" in again.stderr
    assert f"{run}: 25 steps" in again.stdout
    assert (run / "metrics.jsonl").read_bytes() == before
    longer = run_cli("train", "--run", run, "--resume", "training.steps=60", "--json", check=0)
    assert json.loads(longer.stdout)["steps"] == 60
    assert len(json.loads((run / "environment.json").read_text())["resumed"]) == 1
    assert losses(run) == losses(finished[0])


def killed_and_resumed(recipe: Path, folder: Path, run_cli: RunCli, overrides: tuple[str, ...], kills: int) -> None:
    """Kill a training again and again at random moments; its losses must be those of one that was left alone."""
    overrides = (*overrides, "training.log_every=1", "training.checkpoint_every=7", "training.steps=150")
    run_cli("train", recipe, *overrides, "--run", folder / "whole", check=0)
    expected = losses(folder / "whole")
    generator = random.Random(len(expected))
    stops = sorted(generator.sample(range(2, len(expected) - 5), kills))
    interrupted = 0
    for stop in stops:
        process = start(recipe, *overrides, "--run", folder / "run", "--resume")
        wait_for_lines(process, folder / "run", stop)
        interrupted += process.poll() is None
        process.kill()
        process.communicate()
    assert interrupted >= kills - 1, "most kills must have met a training under way"
    run_cli("train", "--run", folder / "run", "--resume", check=0)
    assert losses(folder / "run") == expected
    checkpoints = folder / "run" / "checkpoints"
    for name in ("best", "last"):
        values = read_values(folder / "whole" / "checkpoints" / name)
        again = read_values(checkpoints / name)
        assert (again["best"], again["final"]) == (values["best"], values["final"])


def test_killed_zoneout_lstm_with_dropout_and_adam(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    killed_and_resumed(recipe, tmp_path, run_cli, ZONEOUT, kills=2)


def test_killed_nt_asgd_with_random_windows(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    killed_and_resumed(recipe, tmp_path, run_cli, (*NT_ASGD, "training.evaluate_every=5"), kills=2)
    loop = read_values(tmp_path / "run" / "checkpoints" / "last")["loop"]
    assert loop["averaging"]["count"] > 0, "the average must have begun for this test to say something"


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [ZONEOUT, (*NT_ASGD, "training.evaluate_every=5")])
def test_killed_many_times(recipe: Path, tmp_path: Path, run_cli: RunCli, overrides: tuple[str, ...]) -> None:
    killed_and_resumed(recipe, tmp_path, run_cli, overrides, kills=25)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(
    recipe: Path, tmp_path: Path, finished: tuple[Path, dict[str, Any]], run_cli: RunCli, number: signal.Signals
) -> None:
    run = tmp_path / "my run"
    process = start(recipe, "--run", run, "training.steps=100000")
    wait_for_lines(process, run, 2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    step = read_values(run / "checkpoints" / "last")["step"]
    assert step >= 10
    assert f"error: interrupted after step {step}; the state was saved\n" in stderr
    assert f"hint: go on with: lsseq train --run '{run}' --resume\n" in stderr
    seen = losses(run)[: lines(finished[0])]
    assert seen == losses(finished[0])[: len(seen)]


def test_a_folder_in_use_is_refused(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run = tmp_path / "run"
    process = start(recipe, "--run", run, "training.steps=100000")
    try:
        wait_for_lines(process, run, 1)
        for options in ([recipe], ["--resume"]):
            refused = run_cli("train", *options, "--run", run, check=2)
            assert f"error: the run folder {run} is in use by process {process.pid}\n" in refused.stderr
    finally:
        process.kill()
        process.communicate()


def assert_refused(result: subprocess.CompletedProcess[str], code: int, *messages: str) -> None:
    assert result.returncode == code, result.stderr
    for message in messages:
        assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_existing_run_is_not_overwritten(
    finished: tuple[Path, dict[str, Any]], recipe: Path, run_cli: RunCli
) -> None:
    run, _ = finished
    before = (run / "metrics.jsonl").read_bytes()
    result = run_cli("train", recipe, "--run", run)
    assert_refused(
        result, 2, f"error: the run folder {run} exists already\n",
        f"hint: `lsseq train --run {run} --resume` goes on with it; or choose another: "
        f"--run {run.with_name('small-2')}\n",
    )  # fmt: skip
    assert (run / "metrics.jsonl").read_bytes() == before


def test_other_files_are_not_written_among(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for options in ([], ["--resume"]):
        result = run_cli("train", recipe, "--run", tmp_path, *options)
        assert_refused(result, 2, f"error: `{tmp_path}` is not a run folder: it holds other files and no recipe.yaml\n")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_nothing_to_train(run_cli: RunCli, tmp_path: Path) -> None:
    assert_refused(run_cli("train"), 2, "error: no RECIPE is given\n", "hint: `lsseq recipes list` shows them")
    result = run_cli("train", "--run", tmp_path / "none", "--resume")
    assert_refused(result, 2, f"error: there is no run `{tmp_path / 'none'}`\n")


def test_resume_and_from_exclude_each_other(recipe: Path, run_cli: RunCli) -> None:
    assert_refused(run_cli("train", recipe, "--resume", "--from", "x"), 2, "--resume and --from exclude each other")


def test_resume_of_nothing_starts(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run_cli("train", recipe, "--run", tmp_path / "run", "--resume", "training.steps=3", check=0)
    assert read_values(tmp_path / "run" / "checkpoints" / "last")["step"] == 3


def test_cuda_where_there_is_none(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    result = run_cli("train", recipe, "--run", tmp_path / "run", "--device", "cuda", env=hidden)
    assert_refused(
        result, 2, "error: cuda is not available: ", "--> command line\n", "training.device=cuda",
        "hint: leave it at `auto`, or choose `cpu`\n",
    )  # fmt: skip
    asking = tmp_path / "asking.yaml"
    asking.write_text(f"extends: {recipe}\ntraining:\n  device: cuda\n")
    result = run_cli("train", asking, "--run", tmp_path / "run", env=hidden)
    assert_refused(result, 2, "error: cuda is not available: ", "asking.yaml:3\n", "3 |   device: cuda")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_from_another_folder(tmp_path: Path, small_text: Path, run_cli: RunCli) -> None:
    """Though its recipe named the text relative to the folder that the training was started in."""
    (tmp_path / "text.txt").write_bytes(small_text.read_bytes())
    (tmp_path / "small.yaml").write_text(RECIPE.format(text="text.txt"))
    run_cli("train", "small.yaml", "training.steps=3", cwd=tmp_path, check=0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run_cli("train", "--run", tmp_path / "runs/small", "--resume", "training.steps=6", cwd=elsewhere, check=0)
    run_cli("train", "--run", "small", "--resume", "training.steps=9", cwd=tmp_path, check=0)
    run_cli("train", "small.yaml", "--resume", "training.steps=9", cwd=tmp_path, check=0)
    assert read_values(tmp_path / "runs" / "small" / "checkpoints" / "last")["step"] == 9
    assert not (tmp_path / "small").exists()


def test_a_missing_text_leaves_no_folder(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    result = run_cli("train", recipe, f"data.text={tmp_path / 'absent.txt'}", "--run", tmp_path / "runs" / "x")
    assert_refused(result, 2, "absent.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_is_too_short(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    result = run_cli("train", recipe, "training.batch=100000", "--run", tmp_path / "x")
    assert_refused(result, 2, "are too few for 100000 streams side by side", "training.batch=100000")
    assert list(tmp_path.iterdir()) == []


def test_another_model_is_refused_on_resume(
    finished: tuple[Path, dict[str, Any]], recipe: Path, run_cli: RunCli
) -> None:
    run, _ = finished
    result = run_cli("train", recipe, "--run", run, "--resume", "model.hidden=32", "data.unit=byte")
    assert_refused(
        result, 2, f"error: `data.unit` is byte here and char in the run {run}\n",
        f"error: `model.hidden` is 32 here and 16 in the run {run}\n", "--> command line\n",
    )  # fmt: skip


def test_a_text_may_be_moved_and_not_changed_before_resume(small_text: Path, tmp_path: Path, run_cli: RunCli) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(small_text.read_bytes())
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.format(text=text))
    run = tmp_path / "run"
    run_cli("train", path, "--run", run, "training.steps=3", check=0)
    moved = text.rename(tmp_path / "moved.txt")
    run_cli("train", "--run", run, "--resume", "training.steps=4", f"data.text={moved}", check=0)
    moved.write_bytes(small_text.read_bytes()[::-1])
    result = run_cli("train", "--run", run, "--resume", "training.steps=6")
    assert_refused(result, 2, f"error: the text is not the one that {run} was trained on: {moved}\n")


def test_a_damaged_checkpoint_is_named(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run = tmp_path / "run"
    run_cli("train", recipe, "--run", run, "training.steps=3", check=0)
    (file,) = (run / "checkpoints" / "last").glob("training-*")
    file.write_bytes(file.read_bytes()[:-10])
    result = run_cli("train", "--run", run, "--resume", "training.steps=6")
    assert_refused(result, 1, f"error: the checkpoint is damaged: {file}: it holds ")


def test_divergence(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run = tmp_path / "run"
    result = run_cli(
        "train", recipe, "--run", run, "training.optimizer=sgd", "training.lr=1e30", "training.steps=1000",
        "training.checkpoint_every=1", "model.recurrence=rnn", "model.activation=relu",
    )  # fmt: skip
    assert_refused(
        result, 1, "error: the training diverged: the ", "hint: lower training.lr (now 1e+30)",
        f"{run / 'nonfinite'} holds the step; without such steps it goes on with: "
        f"lsseq train --run {run} --resume training.nonfinite=skip\n",
    )  # fmt: skip
    step = read_values(run / "checkpoints" / "last")["step"]
    assert read_values(run / "nonfinite")["step"] == step + 1
    result = run_cli("train", "--run", run, "--resume", "training.nonfinite=skip")
    assert_refused(
        result, 1, f"of step {step + 1} is ", f"it was left out; {run / 'nonfinite'} holds the step\n",
        "error: the training diverged: 10 steps in a row were left out, and the ",
    )  # fmt: skip


def test_a_disk_that_takes_no_more(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    """A real limit of the system on the size of files, which the growing metrics file or TensorBoard's meets first."""
    run = tmp_path / "run"
    run_cli("train", recipe, "--run", run, "training.steps=5", check=0)
    limit = max(path.stat().st_size for path in run.rglob("*") if path.is_file()) + 2000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "lsseq", "train", "--run", str(run), "--resume"]
    command += ["training.steps=2000", "training.log_every=1", "training.checkpoint_every=10"]
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, timeout=240, check=False)
    assert_refused(result, 1, f"error: the disk is full: {run}", "could not be written\n", f"--run {run} --resume\n")
    step = read_values(run / "checkpoints" / "last")["step"]
    assert 5 < step < 2000
    run_cli("train", "--run", run, "--resume", f"training.steps={step + 1}", check=0)


def test_from_another_run(finished: tuple[Path, dict[str, Any]], recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    source, printed = finished
    result = run_cli(
        "train", recipe, "--from", source, "--run", tmp_path / "run", "training.steps=20", "--json", check=0
    )
    assert json.loads(result.stdout)["best"]["nll"] < printed["best"]["nll"]
    first = losses(tmp_path / "run")[0]["nll"]
    assert first < losses(source)[0]["nll"] - 0.1, "it starts where the other run ended"


def test_from_another_run_and_killed_at_once(
    finished: tuple[Path, dict[str, Any]], recipe: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    keys = ("training.log_every=1", "training.evaluate_every=1000000")
    run_cli("train", recipe, "--from", finished[0], *keys, "training.steps=10", "--run", tmp_path / "whole", check=0)
    process = start(recipe, "--from", finished[0], *keys, "training.steps=1000000", "--run", tmp_path / "run")
    wait_for_lines(process, tmp_path / "run", 1)
    process.kill()
    process.communicate()
    run_cli("train", "--run", tmp_path / "run", "--resume", "training.steps=10", check=0)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_from_a_run_that_does_not_fit(
    finished: tuple[Path, dict[str, Any]], recipe: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    source, _ = finished
    result = run_cli("train", recipe, "--from", source, "--run", tmp_path / "run", "model.embedding=4")
    assert_refused(result, 2, f"error: the weights of {source} do not fit this model: embedding.weight: ", "×8 there")
    result = run_cli("train", recipe, "--from", source, "--run", tmp_path / "run", "data.unit=byte")
    assert_refused(result, 2, f"error: {source} has another vocabulary: ", "256 here")
    assert_refused(run_cli("train", recipe, "--from", tmp_path, "--run", tmp_path / "run"), 2, "is not a run folder")
    assert list(tmp_path.iterdir()) == []


def test_dry_run(recipe: Path, tmp_path: Path, finished: tuple[Path, dict[str, Any]], run_cli: RunCli) -> None:
    result = run_cli("train", recipe, "--dry-run", "--json", check=0, cwd=tmp_path)
    values = json.loads(result.stdout)
    assert values["parameters"] == finished[1]["parameters"]
    assert values["steps"] == 60
    assert values["seconds"] == pytest.approx(60 * values["seconds_per_step"])
    assert values["tokens_per_second"] == pytest.approx(8 * 20 / values["seconds_per_step"])
    assert list(tmp_path.iterdir()) == []


def test_dry_run_refuses_what_the_unit_cannot_serve(tmp_path: Path, run_cli: RunCli) -> None:
    result = run_cli("train", "brent/lstm", "data.unit=word", "--dry-run", check=2, cwd=tmp_path)
    assert "strip_spaces is for the units char and byte, and data.unit is word" in result.stderr
    assert "recipes/brent/base.yaml:" in result.stderr


def test_dry_run_without_the_corpus(tmp_path: Path, run_cli: RunCli) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("data: {corpus: text8, vocabulary_size: 27}\nmodel: {hidden: 8}\ntraining: {epochs: 3, bptt: 5}\n")
    result = run_cli("train", path, "--dry-run", check=0, cwd=tmp_path)
    assert "27 symbols, corpus not prepared" in result.stdout
    assert list(tmp_path.iterdir()) == [path]
