"""Labelled texts from files and data sets, and what is said of files that cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data.tasks import Form, open_task
from lsseq.data.tasks.labelled import read_rows
from lsseq.data.tasks.labels import class_names
from lsseq.data.vocabulary import load_vocabulary
from lsseq.errors import RequestError, RunError
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, HubDataset, Task, TextSplits

pytestmark = pytest.mark.usefixtures("own_data")
TASK = Task(kind="classification")

ROWS = [("good one", "yes"), ("bad, one", "no"), ('a "fine" day', "yes"), ("two\nlines", "no")] * 10


def table(rows=ROWS, header=("label", "text")) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows((label, text) for text, label in rows)
    return file.getvalue()


def opened(text, run=None, task=TASK, **keys):
    return open_task(Data(text=text, task=task, **keys), task, run)


def texts(examples, split: str) -> list[tuple[str, str]]:
    """The texts of a split and their labels, out of its batches."""
    found = []
    for number in range(len(examples.lengths(split))):
        batch = examples.batch(split, np.array([number]))
        label = examples.form.classes[int(batch.targets[-1, 0])]
        found.append((examples.vocabulary.decode(batch.inputs[:, 0].tolist()), label))
    return found


def splits(folder, train=None, valid=None, test=None) -> TextSplits:
    for name, content in {"train": train or table(), "valid": valid or table(), "test": test or table()}.items():
        (folder / f"{name}.csv").write_text(content, encoding="utf-8", newline="")
    return TextSplits(**{name: str(folder / f"{name}.csv") for name in ("train", "valid", "test")})


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL.map(str.strip)), min_size=1, max_size=6), packed=st.booleans())
def test_csv_files_give_back_what_was_written(rows, packed, tmp_path_factory):
    content = table(rows).encode()
    path = tmp_path_factory.mktemp("csv") / ("rows.csv.gz" if packed else "rows.CSV")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert [(row.value, row.label) for row in read_rows(path, TASK)] == rows


def test_texts_come_back_in_every_unit(tmp_path):
    for unit in ("char", "byte"):
        assert texts(opened(splits(tmp_path), unit=unit), "valid") == ROWS
    examples = opened(splits(tmp_path), unit="word")
    assert [text for text, _ in texts(examples, "valid")][:3] == ["good one", "bad, one", 'a "fine" day']
    assert examples.form == Form(len(examples.vocabulary), symbols=True, classes=("no", "yes"))
    one_line = table(ROWS[:3])
    assert "\n" not in opened(splits(tmp_path, one_line, one_line, one_line)).vocabulary.tokens


def test_a_batch_is_filled_up_behind_the_shorter_texts(tmp_path):
    examples = opened(splits(tmp_path))
    batch = examples.batch("train", np.array([0, 2]))
    assert batch.inputs.shape == (12, 2)
    assert batch.inputs[8:, 0].tolist() == [-1] * 4
    assert batch.mask is not None
    assert batch.mask.nonzero().tolist() == [[7, 0], [11, 1]]
    assert batch.targets[batch.mask].tolist() == [1, 1]
    assert torch.equal(batch.mask.sum(0), torch.ones(2, dtype=torch.long))


def test_lines_of_label_tab_text(tmp_path):
    path = tmp_path / "all.txt"
    path.write_text("yes\tgood one\n\nno\ta\tb\r\n" * 20)
    assert [(row.label, row.value, row.place.line) for row in read_rows(path, TASK)][:3] == [
        ("yes", "good one", 1), ("no", "a\tb", 3), ("yes", "good one", 4),
    ]  # fmt: skip


def test_one_file_is_dealt_at_random(tmp_path):
    rows = [(f"text {number}", str(number % 2)) for number in range(100)]
    (tmp_path / "a.csv").write_text(table(rows[:60]), newline="")
    (tmp_path / "b.csv").write_text(table(rows[60:]), newline="")
    names = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    examples = opened(names, unit="byte")
    found = {split: texts(examples, split) for split in examples.splits}
    assert {split: len(part) for split, part in found.items()} == {"train": 90, "valid": 5, "test": 5}
    assert sorted(row for part in found.values() for row in part) == sorted(rows)
    assert found["valid"] != rows[90:95]
    order = np.random.RandomState(1).permutation(100)
    assert found["valid"] == [rows[number] for number in order[:5]]
    other = opened(names, unit="byte", task=Task(kind="classification", seed=2))
    assert texts(other, "valid") != found["valid"]


def test_chance(tmp_path):
    train = table([("a", "x")] * 6 + [("a", "y")] * 3)
    valid = table([("a", "x"), ("a", "y"), ("a", "y"), ("a", "y")])
    chance = opened(splits(tmp_path, train, valid, valid)).chance("valid")
    assert chance["accuracy"] == 0.25
    assert chance["nll"] == pytest.approx(-(np.log(7 / 11) + 3 * np.log(4 / 11)) / 4)


def test_classes_are_ordered():
    assert class_names(["b", "10", "a", "2", "b", "02"]) == ("02", "2", "10", "a", "b")


def test_a_run_keeps_its_vocabulary_and_its_classes(tmp_path):
    examples = opened(splits(tmp_path))
    examples.save(tmp_path)
    assert load_vocabulary(tmp_path).contents() == examples.vocabulary.contents()
    assert Form.load(tmp_path) == examples.form
    less = splits(tmp_path, train=table(ROWS[:2] * 10), valid=table(ROWS[:2]))
    again = opened(less, run=tmp_path)
    assert again.form == examples.form
    assert again.fingerprint != examples.fingerprint
    assert texts(again.with_file("text", tmp_path / "test.csv", TASK), "text") == ROWS


def test_a_damaged_task_json(tmp_path):
    with pytest.raises(RunError, match=r"task\.json is missing"):
        Form.load(tmp_path)
    (tmp_path / "task.json").write_text(json.dumps({"inputs": 3}))
    with pytest.raises(RunError, match=r"task\.json is damaged: symbols: Field required"):
        Form.load(tmp_path)
    (tmp_path / "task.json").write_text('{"inputs": Infinity, "symbols": true, "classes": null, "ignored": null}')
    with pytest.raises(RunError, match=r"task\.json is damaged: inputs: Input should be a finite number"):
        Form.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        ("label,txt\na,b\n", "there is no column `text` (data.task.column)", 1),
        ("text,labels\na,b\n", "there is no column `label` (data.task.label)", 1),
        ("label,text\na,b\na,b,c\n", "this row has 3 fields, and there are 2 columns", 3),
        ('label,text\na,"b\nc"\na\n', "this row has 1 fields, and there are 2 columns", 4),
        ('label,text\na,"b', "the CSV file cannot be read: unexpected end of data", 2),
        ("label,text\n", "there are no labelled texts in {path}", None),
        ("", "there are no labelled texts in {path}", None),
    ],
)
def test_bad_csv(content, message, line, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(RequestError) as caught:
        read_rows(path, TASK)
    assert caught.value.message == message.format(path=path)
    assert (caught.value.place.line if caught.value.place else None) == line


def test_a_near_column_is_named(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("Label,text\na,b\n")
    with pytest.raises(RequestError) as caught:
        read_rows(path, TASK)
    assert caught.value.suggestion == "did you mean `Label`?"
    assert caught.value.hint == "the columns are Label, text"


def test_bad_lines(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("a\tb\nc d\n")
    with pytest.raises(RequestError, match="this line is not a label, a tab and a text") as caught:
        read_rows(path, TASK)
    assert str(caught.value.place) == f"{path}:2"
    path.write_bytes(b"a\tb\na\t\xff\n")
    with pytest.raises(RequestError, match=r"the byte 0xff at offset 6 \(line 2\) is not UTF-8"):
        read_rows(path, TASK)


@pytest.mark.parametrize(
    ("test", "message", "hint"),
    [
        (
            table([("good", "yes"), ("a", "ye")]),
            "no training row has the label `ye`",
            "the labels of the training split are no, yes",
        ),
        (
            table([("good", "yes"), ("#", "yes")]),
            "in this text '#' (U+0023) at line 1, column 1 is not in the vocabulary, which has no `<unk>`",
            "`data.unit=byte` or `data.unit=sentencepiece` can read every text",
        ),
        (table([("good", "yes"), ("", "yes")]), "this text is empty: there is nothing to read", None),
    ],
)
def test_bad_rows_of_the_test_split(test, message, hint, tmp_path):
    with pytest.raises(RequestError) as caught:
        opened(splits(tmp_path, test=test))
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert str(caught.value.place) == f"{tmp_path / 'test.csv'}:3"


def test_what_is_not_there(tmp_path):
    (tmp_path / "rows.csv").write_text(table([("a", "x")] * 30), newline="")
    for text, message in (
        (str(tmp_path / "row.csv"), f"there is no file {tmp_path / 'row.csv'}"),
        (None, "no labelled texts are named"),
        (str(tmp_path / "rows.csv"), "the training rows have one label only: there is nothing to tell apart"),
    ):
        with pytest.raises(KeyFault) as caught:
            opened(text)
        assert caught.value.message == message


def test_rows_of_a_data_set(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    made.to_parquet(tmp_path / "rows.parquet")
    files = {"train": str(tmp_path / "rows.parquet"), "validation": str(tmp_path / "rows.parquet")}
    examples = open_task(Data(dataset=HubDataset(name="parquet", files=files), task=TASK), TASK)
    assert texts(examples, "valid") == ROWS
    assert examples.splits == ("train", "valid")
