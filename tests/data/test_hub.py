"""Text through the library `datasets`, from local files; nothing here reaches the network."""

from __future__ import annotations

import pytest

from lsseq.data import hub, open_text
from lsseq.errors import RequestError, RunError
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, HubDataset

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def quiet_and_alone(own_data, tmp_path, monkeypatch):
    """A cache of its own, no progress bars, no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def opened(**keys):
    return open_text(Data(dataset=HubDataset(**keys), unit="byte"))


def texts(data) -> dict[str, str]:
    return {split: data.vocabulary.decode(part.tokens) for split, part in data.splits.items()}


def test_text_files_come_back_line_by_line(tmp_path):
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n\n  {name} two \n")
    files = {"train": str(tmp_path / "train.txt"), "validation": str(tmp_path / "valid.txt")}
    data = opened(name="text", files=files)
    assert texts(data) == {"train": "train one\n\n  train two \n", "valid": "valid one\n\n  valid two \n"}
    assert data.source == "text"


def test_without_validation_the_rows_are_cut(tmp_path):
    (tmp_path / "all.txt").write_text("".join(f"{row:02}\n" for row in range(40)))
    found = texts(opened(name="text", files=str(tmp_path / "all.txt")))
    assert {split: text.split() for split, text in found.items()} == {
        "train": [f"{row:02}" for row in range(36)],
        "valid": ["36", "37"],
        "test": ["38", "39"],
    }


def test_the_column_and_the_separator(tmp_path):
    datasets.Dataset.from_dict({"body": ["a", "b\n", "c"] * 20, "n": [1, 2, 3] * 20}).to_parquet(tmp_path / "d.parquet")
    keys = {"name": "parquet", "files": {"train": str(tmp_path / "d.parquet"), "dev": str(tmp_path / "d.parquet")}}
    assert texts(opened(**keys, column="body", separator="|"))["valid"] == "a|b\n|c|" * 20
    with pytest.raises(KeyFault) as caught:
        opened(**keys, column="bodi")
    assert caught.value.key == "data.dataset.column"
    assert caught.value.suggestion == "did you mean `body`?"
    with pytest.raises(RequestError, match="the column `n` holds int, not text"):
        opened(**keys, column="n")


def test_arrow_files(tmp_path):
    rows = datasets.Dataset.from_dict({"text": [f"row {number}" for number in range(40)]})
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows, "validation": rows.select([3, 5])}).save_to_disk(tmp_path / "splits")
    (file,) = (tmp_path / "one").glob("*.arrow")
    whole = texts(opened(name=str(tmp_path / "one")))
    assert whole == texts(opened(name="arrow", files=str(file)))
    assert "".join(whole.values()) == "".join(f"row {number}\n" for number in range(40))
    assert texts(opened(name=str(tmp_path / "splits")))["valid"] == "row 3\nrow 5\n"


def test_long_rows_are_read_a_few_at_a_time(monkeypatch):
    rows = datasets.Dataset.from_dict({"text": [str(number) * 100 for number in range(10)] * 100, "n": [0] * 1000})
    sizes = []
    monkeypatch.setattr(hub, "TOGETHER", 1500)
    monkeypatch.setattr(datasets.Dataset, "iter", noting(sizes, datasets.Dataset.iter))
    assert list(hub._rows(rows, "text")) == rows["text"]
    assert max(sizes) < 20


def noting(sizes, real):
    def iterate(self, batch_size):
        for batch in real(self, batch_size):
            sizes.append(len(batch["text"]))
            yield batch

    return iterate


def test_a_missing_file(tmp_path):
    with pytest.raises(KeyFault, match="the data set text cannot be read") as caught:
        opened(name="text", files=str(tmp_path / "none.txt"))
    assert caught.value.key == "data.dataset"


def test_no_training_split(tmp_path):
    (tmp_path / "t.txt").write_text("a\n")
    with pytest.raises(KeyFault, match="text has no split train") as caught:
        opened(name="text", files={"test": str(tmp_path / "t.txt")})
    assert caught.value.hint == "it has test"


def test_no_network_says_what_local_form_would_do(monkeypatch):
    def unreachable(*args: object, **keys: object) -> None:
        raise ConnectionError("Couldn't reach 'someone/text' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(RunError) as caught:
        opened(name="someone/text")
    assert caught.value.message == (
        "the data set someone/text cannot be fetched: Couldn't reach 'someone/text' on the Hub"
    )
    assert caught.value.hint is not None
    assert "`data.dataset={name: parquet, files: FILE.parquet}`" in caught.value.hint
