"""The corpus scripts that come with lsseq."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lsseq.data import corpus as corpus_module
from lsseq.data.corpus import Source, corpus_names, load_corpus, stripped_lines
from lsseq.errors import RunError
from lsseq.recipe.faults import KeyFault
from lsseq.resources import data_scripts_folder

NAMES = corpus_names()


def test_the_corpora_are_the_files():
    assert NAMES == [
        "brent",
        "enwik8",
        "mnist",
        "nested-lexicon",
        "ptb",
        "python-docs",
        "text8",
        "tinyshakespeare",
        "wikitext-103",
        "wikitext-2",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_script_declares_its_corpus(name):
    corpus = load_corpus(name)
    assert corpus.name == name
    assert corpus.description
    assert corpus.licence
    assert corpus.citation
    for source in corpus.files:
        assert source.checksum is not None
        assert len(source.urls) >= 2
        assert all(url.startswith(("https://", "http://")) for url in source.urls)
    assert corpus.published or not corpus.files


def test_a_new_corpus_is_a_new_file(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "data_scripts_folder", lambda: tmp_path)
    script = (data_scripts_folder() / "tinyshakespeare.py").read_text()
    (tmp_path / "my-plays.py").write_text(script.replace('name="tinyshakespeare"', 'name="my-plays"'))
    assert corpus_names() == ["my-plays"]
    assert load_corpus("my-plays").published[0].types == 65
    (tmp_path / "other.py").write_text(script)
    with pytest.raises(RunError, match=r"other\.py does not define CORPUS with the name `other`"):
        load_corpus("other")


def test_an_unknown_name():
    with pytest.raises(KeyFault) as caught:
        load_corpus("text-8")
    assert caught.value.suggestion == "did you mean `text8`?"


def test_checksums_name_their_algorithm():
    assert Source("a", sha256="12").checksum == "sha256:12"
    assert Source("a", sha1="34").checksum == "sha1:34"
    assert Source("a").checksum is None


def test_stripped_lines_all_end(tmp_path):
    (tmp_path / "a").write_bytes(b" the cat \n\nthe dog")
    assert list(stripped_lines(tmp_path / "a")) == [b"the cat\n", b"\n", b"the dog\n"]


def test_both_forms_of_ptb_give_one_text(tmp_path):
    words, characters = tmp_path / "words", tmp_path / "characters"
    words.mkdir()
    characters.mkdir()
    line = "the <unk> of n.v. is N"
    for split in ("train", "valid", "test"):
        (words / f"ptb.{split}.txt").write_text(f" {line} \n" * 2)
        (characters / f"ptb.char.{split}.txt").write_text((" ".join(line.replace(" ", "_")) + " \n ") * 2)
    prepare = load_corpus("ptb").prepare
    for folder in (words, characters):
        splits = prepare({path.name: path for path in folder.iterdir()})
        assert {split: b"".join(pieces).decode() for split, pieces in splits.items()} == dict.fromkeys(
            ("train", "valid", "test"), f"{line}\n" * 2
        )


def test_brent_is_one_text_with_spaces_between_words(tmp_path):
    (tmp_path / "br-phono.txt").write_bytes(b"yu want It\nlUk\n")
    splits = load_corpus("brent").prepare({"br-phono.txt": tmp_path / "br-phono.txt"})
    assert {split: b"".join(pieces) for split, pieces in splits.items()} == {"train": b"yu want It\nlUk\n"}


def test_paragraphs_of_python_docs_are_in_one_split_only():
    parts = {split: b"".join(pieces).decode() for split, pieces in load_corpus("python-docs").prepare({}).items()}
    paragraphs = [part.strip() for part in "".join(parts.values()).split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs))
    if sys.version_info[:2] == (3, 11):
        assert sum(map(len, parts.values())) == pytest.approx(373_309, abs=2_000)
        assert len(set("".join(parts.values()))) == 103


def test_a_script_runs_by_itself(own_data):
    script = data_scripts_folder() / "python-docs.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"python-docs: prepared in {own_data / 'corpora' / 'python-docs'}\n")
    script = data_scripts_folder() / "ptb.py"
    wrong = subprocess.run([sys.executable, script, "--from", own_data], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: {own_data} lacks ptb.train.txt, ptb.valid.txt, ptb.test.txt")
