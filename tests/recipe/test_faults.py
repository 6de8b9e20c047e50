"""What a user reads about a wrong recipe: the whole text, with place and suggestion."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from lsseq.errors import RequestError
from lsseq.recipe import load_recipe

Write = Callable[..., Path]
Faults = Callable[..., str]

RUN = "training: {steps: 1}\n"


def test_an_unknown_key(faults: Faults) -> None:
    assert faults(RUN + "model:\n  zoneout: {cell: 0.5, hiden: 0.05}\n") == (
        "error: unknown key `hiden` in model.zoneout\n"
        "  --> r.yaml:3\n"
        "3 |   zoneout: {cell: 0.5, hiden: 0.05}\n"
        "  |                        ^^^^^ did you mean `hidden`?\n"
        "hint: `lsseq recipes schema model.zoneout` lists the keys allowed here"
    )


def test_all_faults_at_once_in_the_order_of_the_file(faults: Faults) -> None:
    text = "model:\n  hidden: -3\n  norm: group\nfoo: 1\n" + RUN + "data: {unit: chars}\n"
    assert faults(text, "lr=1", "model.layers=two") == (
        "error: model.hidden must be an integer of at least 1, or a list of them (got -3)\n"
        "  --> r.yaml:2\n"
        "2 |   hidden: -3\n"
        "  |           ^^\n"
        "error: model.norm must be `layer` or `batch` (got `group`)\n"
        "  --> r.yaml:3\n"
        "3 |   norm: group\n"
        "  |         ^^^^^\n"
        "error: unknown key `foo`\n"
        "  --> r.yaml:4\n"
        "4 | foo: 1\n"
        "  | ^^^\n"
        "error: data.unit must be `char`, `byte`, `word` or `sentencepiece` (got `chars`)\n"
        "  --> r.yaml:6\n"
        "6 | data: {unit: chars}\n"
        "  |              ^^^^^ did you mean `char`?\n"
        "error: unknown key `lr`\n"
        "  --> command line\n"
        " | lr=1\n"
        " | ^^ did you mean `training.lr`?\n"
        "error: model.layers must be an integer from 1 to 1000 (got `two`)\n"
        "  --> command line\n"
        " | model.layers=two\n"
        " |              ^^^\n"
        "hint: the keys here are extends, name, description, data, model, training, evaluation, published, expected"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("model: {hidden: [4, 0]}", "model.hidden[1] must be an integer of at least 1 (got 0)"),
        ("model: {hidden: []}", "model.hidden must be an integer of at least 1, or a list of them (got a list)"),
        ("model: {layers: 2147483648}", "model.layers must be an integer from 1 to 1000 (got 2147483648)"),
        ("model: {stack: {columns: 11}}", "model.stack.columns must be an integer from 1 to 10 (got 11)"),
        ("model: {hidden: 2.5}", "model.hidden must be an integer of at least 1, or a list of them (got 2.5)"),
        ("model: {hidden: true}", "model.hidden must be an integer of at least 1, or a list of them (got true)"),
        ("model: {embedding: onehot}", "model.embedding must be an integer of at least 1, or `one-hot` (got `onehot`)"),
        ("model: {tied: yes}", "model.tied must be true or false (got `yes`)"),
        ("model: {zoneout: {cell: 1.1}}", "model.zoneout.cell must be a number from 0 to 1 (got 1.1)"),
        ("model: {zoneout: {cell: .nan}}", "model.zoneout.cell must be a number from 0 to 1 (got nan)"),
        ("model: {zoneout: 0.5}", "model.zoneout must be a mapping (got 0.5)"),
        ("model: {dropout: {input: 1}}", "model.dropout.input must be a number from 0 to below 1 (got 1)"),
        ("model: lstm", "model must be a mapping (got `lstm`)"),
        ("model: {recurrence: lsmt}", "unknown recurrence `lsmt`"),
        ("model: {hidden: [3, 4]}", "model.hidden lists 2 sizes for 1 layers"),
        ("model: {tied: true}", "model.tied needs embedding (128) equal to the last layer's hidden (256)"),
        ("model: {tied: true, embedding: one-hot}", "model.tied needs an embedding, and model.embedding is `one-hot`"),
        ("model: {diagonal: true}", "model.diagonal needs model.rank"),
        ("model: {tied_rank: true}", "model.tied_rank needs model.rank"),
        ("model: {input_rank: 300}", "model.input_rank (300) is more than the units of a layer (256)"),
        ("model: {rank: 300}", "model.rank (300) is more than the units of a layer (256)"),
        ("model: {rank: 5, layers: 2, hidden: [9, 4]}", "model.rank (5) is more than the units of a layer (4)"),
        ("model: {adaptive_softmax: [9, 9]}", "model.adaptive_softmax must ascend (got [9, 9])"),
        (
            "model: {adaptive_softmax: []}",
            "model.adaptive_softmax must be a list of integers of at least 1 (got a list)",
        ),
        (
            "model: {adaptive_softmax: [9], tied: true, embedding: 256}",
            "model.adaptive_softmax has no weights that model.tied could share",
        ),
        (
            "model: {adaptive_softmax: [9]}\ndata: {unit: byte}",
            "model.adaptive_softmax is for data.unit `word`, ordered by frequency (got `byte`)",
        ),
        ("data: {text: {train: a}}", "missing key `data.text.valid`"),
        ("data: {text: 3}", "data.text must be text, or a list of them, or a mapping (got 3)"),
        ("data: {text: a, dataset: {name: b}}", "data.text and data.dataset are both given; keep one"),
        ("published: x", "published must be a list of mappings (got `x`)"),
        ("published: {metric: bpd, value: 1, source: s}", "published[0].metric must be `nll`"),
        ("name: 3", "name must be text (got 3)"),
        ("name: ../elsewhere", "name is that of a folder, and not a path (got `../elsewhere`)"),
        ("name: ..", "name is that of a folder, and not a path (got `..`)"),
        ("model: {hidden: null, hiden: null}", "unknown key `hiden` in model"),
    ],
)
def test_wrong_values(faults: Faults, value: str, message: str) -> None:
    text = faults(f"{RUN}{value}\n")
    assert text.startswith(f"error: {message}")
    assert "\n  --> r.yaml:2\n2 | " in text
    assert text.count("error:") == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lr: 0", "training.lr must be a number above 0 (got 0)"),
        ("lr: .inf", "training.lr must be a number above 0 (got inf)"),
        ("betas: [0.9]", "training.betas must be a list of 2 numbers from 0 to below 1 (got a list)"),
        ("betas: [0.9, 1]", "training.betas[1] must be a number from 0 to below 1 (got 1)"),
        ("optimizer: adan", "training.optimizer must be `sgd`, `adam`, `adamw` or `rmsprop` (got `adan`)"),
        ("schedule: cosin", "training.schedule.kind must be `constant`, `plateau`, `step` or `cosine` (got `cosin`)"),
        ("schedule: {kind: step}", "a step schedule needs either `milestones` or `after`"),
        ("schedule: {kind: cosine, factor: 0.1}", "`factor` is for the kind `plateau` and `step` (got `cosine`)"),
        ("schedule: {patience: 1}", "`patience` is for the kind `plateau` (got `constant`)"),
        ("averaging: {kind: ema, start: 3}", "`start` is for the kind `asgd` (got `ema`)"),
        ("momentum: 0.9", "`momentum` is for the optimizer `sgd` and `rmsprop` (got `adam`)"),
        ("optimizer: sgd, betas: [0.1, 0.2]", "`betas` is for the optimizer `adam` and `adamw` (got `sgd`)"),
        ("clip_by: value", "`clip_by` says what `training.clip` limits, and there is none"),
        ("schedule: {factor: 1}", "training.schedule.factor must be a number above 0 and below 1 (got 1)"),
        ("seed: -1", "training.seed must be an integer from 0 to below 9223372036854775808 (got -1)"),
        ("steps: null", "nothing ends the training; give training.steps, training.epochs or training.minutes"),
        (
            "steps: null, minutes: 3, schedule: cosine",
            "a cosine schedule needs a budget: training.steps or training.epochs",
        ),
    ],
)
def test_wrong_training(write: Write, value: str, message: str) -> None:
    write("base.yaml", RUN)
    write("r.yaml", f"extends: base\ntraining: {{{value}}}\n")
    with pytest.raises(RequestError) as caught:
        load_recipe("r.yaml")
    assert caught.value.message == message
    assert caught.value.place is not None
    assert (caught.value.place.source, caught.value.place.line) == ("r.yaml", 2)
    assert not caught.value.more


def test_a_fault_is_shown_in_the_file_that_has_it(write: Write) -> None:
    write("base.yaml", "training: {steps: 0}\n")
    write("r.yaml", "extends: base\nmodel: {hidden: 0}\n")
    with pytest.raises(RequestError) as caught:
        load_recipe("r.yaml")
    assert [str(problem.place) for problem in caught.value.problems] == ["base.yaml:1:19", "r.yaml:2:17"]


def test_no_training(faults: Faults) -> None:
    assert faults("model: {}\n", "model.layers=1") == "error: missing key `training`\n  --> r.yaml"


@pytest.mark.parametrize(
    ("override", "message", "mark", "suggestion"),
    [
        ("model.hiden=3", "unknown key `model.hiden`", "^" * 11, "did you mean `model.hidden`?"),
        ("hidden=3", "unknown key `hidden`", "^" * 6, "did you mean `model.hidden`?"),
        ("model.hidden.x=3", "unknown key `model.hidden.x`", "^" * 14, "did you mean `model.hidden`?"),
        ("trainin.lr=3", "unknown key `trainin.lr`", "^" * 10, "did you mean `training.lr`?"),
        ("xyzzy.q=3", "unknown key `xyzzy.q`", "^" * 7, None),
        ("=3", "unknown key ``", "^", None),
        ("model.hidden", "`model.hidden` is not KEY=VALUE", "^" * 12, "such as `training.lr=1e-3`"),
        ("extends=base", "`extends` stands in a file, not on the command line", "^" * 7, None),
        (
            "model.hidden=[3,",
            "not valid YAML: expected the node content, but found '<stream end>'",
            " " * 16 + "^",
            None,
        ),
        ("data.text=my #1.txt", "in YAML `#` begins a comment", " " * 13 + "^", None),
        ("data.text=# x", "in YAML `#` begins a comment", " " * 10 + "^", None),
        (
            "model.hidden=-1",
            "model.hidden must be an integer of at least 1, or a list of them (got -1)",
            " " * 13 + "^^",
            None,
        ),
    ],
)
def test_wrong_overrides(faults: Faults, override: str, message: str, mark: str, suggestion: str | None) -> None:
    text = faults(RUN, override).split("\nhint:")[0]
    end = f" {suggestion}" if suggestion else ""
    assert text == f"error: {message}\n  --> command line\n | {override}\n | {mark}{end}"


def test_a_circle_shows_its_chain(write: Write) -> None:
    write("a.yaml", RUN + "extends: b\n")
    write("b.yaml", "extends: [sub/c.yaml]\n")
    write("sub/c.yaml", "extends: ../a\n")
    with pytest.raises(RequestError) as caught:
        load_recipe("a.yaml")
    assert str(caught.value) == (
        "error: extends runs in a circle: a.yaml -> b.yaml -> sub/c.yaml -> a.yaml\n"
        "  --> sub/c.yaml:1\n"
        "1 | extends: ../a\n"
        "  |          ^^^^"
    )


def test_an_endless_chain_is_refused(write: Write) -> None:
    for number in range(30):
        write(f"{number}.yaml", f"extends: '{number + 1}'\n")
    write("30.yaml", RUN)
    with pytest.raises(RequestError, match="more than 20 recipes extend each other in a row"):
        load_recipe("0.yaml")


@pytest.mark.parametrize(
    ("value", "message", "suggestion"),
    [
        ("bse", "there is no recipe `bse`", "did you mean `base`?"),
        ("ptb-chr/base", "there is no recipe `ptb-chr/base`", "did you mean `ptb-char/base`?"),
        ("3", "extends must be a recipe or a list of recipes (got 3)", None),
        ("[base, {a: 1}]", "extends must be a recipe or a list of recipes (got a mapping)", None),
        ("''", "extends must be a recipe or a list of recipes (got ``)", None),
    ],
)
def test_wrong_extends(write: Write, value: str, message: str, suggestion: str | None) -> None:
    write("base.yaml", RUN)
    write("r.yaml", f"extends: {value}\n")
    with pytest.raises(RequestError) as caught:
        load_recipe("r.yaml")
    assert (caught.value.message, caught.value.suggestion) == (message, suggestion)
    assert caught.value.place is not None
    assert caught.value.place.line == 1


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "`r.yaml` is empty", "r.yaml"),
        ("# nothing\n", "`r.yaml` is empty", "r.yaml"),
        ("- 1\n", "a recipe must be a mapping of keys to values, and this is a list", "r.yaml:1:1"),
        ("lstm\n", "a recipe must be a mapping of keys to values, and this is `lstm`", "r.yaml:1:1"),
        ("model:\n  hidden: 3\n  hidden: 4\n", "the key `hidden` stands twice", "r.yaml:3:3"),
        ("model: {a: b: c}\n", "not valid YAML: expected ',' or '}', but got ':'", "r.yaml:1:13"),
        ("model:\n\thidden: 3\n", "not valid YAML: found character '\\t' that cannot start any token", "r.yaml:2:1"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: but found another document", "r.yaml:2:1"),
        ("a: *x\n", "not valid YAML: found undefined alias 'x'", "r.yaml:1:4"),
        ("name: \0", "not valid YAML: the character U+0000 is not allowed", "r.yaml:1:7"),
        (b"name: caf\xe9\n", "the byte 0xE9 is not UTF-8", "r.yaml:1:10"),
        ("a: !!python/none x\n", "the tag `!!python/none` has no meaning in a recipe", "r.yaml:1:4"),
        ("a: !!python/object:a.b []\n", "the tag `!!python/object:a.b` has no meaning in a recipe", "r.yaml:1:4"),
        ("a: !!binary abc\n", "the tag `!!binary` has no meaning in a recipe", "r.yaml:1:4"),
        ("model: !!int abc\n", "not valid YAML: `abc` is not of the type !!int", "r.yaml:1:8"),
        ("1: 2\n", "a key must be text (got 1)", "r.yaml:1:1"),
        ("? [a]\n: 2\n", "a key must be text, and this is a mapping or a list", "r.yaml:1:3"),
        ("a: &x [*x]\n", "nested more than 40 deep", "r.yaml:1:4"),
        ("a: " + "[" * 3000, "nested more than 40 deep", "r.yaml"),
        ("#" * 100_001, "`r.yaml` is larger than 100,000 bytes; this is no recipe", "r.yaml"),
    ],
)  # fmt: skip
def test_files_that_are_no_recipe(write: Write, text: str | bytes, message: str, place: str) -> None:
    write("r.yaml", text)
    with pytest.raises(RequestError) as caught:
        load_recipe("r.yaml")
    assert (caught.value.message, str(caught.value.place)) == (message, place)


def test_aliases_that_stand_for_billions_are_refused_at_once(write: Write) -> None:
    letters = "abcdefghi"
    lines = ["a: &a [" + ",".join("x" * 9) + "]"]
    lines += [f"{n}: &{n} [{','.join([f'*{b}'] * 9)}]" for b, n in pairwise(letters)]
    write("r.yaml", "\n".join(lines))
    start = time.process_time()
    with pytest.raises(RequestError, match="more than 20,000 values, counting each use of an alias"):
        load_recipe("r.yaml")
    assert time.process_time() - start < 5


def test_an_alias_is_read_as_what_it_stands_for(write: Write) -> None:
    write("r.yaml", RUN + "model: {hidden: &n 7, embedding: *n, tied: true}\n")
    assert load_recipe("r.yaml").recipe.model.embedding == 7


def test_windows_line_ends_and_a_byte_order_mark(faults: Faults) -> None:
    assert faults(b"\xef\xbb\xbftraining:\r\n  stps: 1\r\n").startswith(
        "error: unknown key `stps` in training\n  --> r.yaml:2\n2 |   stps: 1\n  |   ^^^^ did you mean `steps`?"
    )


def test_a_long_line_is_cut_about_the_mark(faults: Faults) -> None:
    names = ", ".join(f"'{'n' * 20}{number}'" for number in range(40))
    lines = faults(f"{RUN}data: {{text: [{names}], untt: char}}\n").splitlines()
    assert max(map(len, lines)) < 150
    source, mark = lines[2], lines[3]
    start = mark.index("^")
    assert source[start : start + 4] == "untt"
    assert mark[start:] == "^^^^ did you mean `unit`?"
    assert "…" in source
