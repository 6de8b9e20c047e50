"""From the data section to tokens: sources, units, the cache, and what is said about wrong input."""

from __future__ import annotations

import gzip
import pickle

import numpy as np
import pytest

from lsseq.data import TextData, load_vocabulary, open_text, opening, read_text, sources
from lsseq.data.corpus import Corpus
from lsseq.data.vocabulary import CharVocabulary, WordVocabulary
from lsseq.errors import RequestError
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, SentencePiece, TextSplits

pytestmark = pytest.mark.usefixtures("own_data")


@pytest.mark.parametrize(
    "keys",
    [
        {"unit": "char"},
        {"unit": "byte"},
        {"unit": "word", "vocabulary_size": 500, "minimum_count": 2},
        {"unit": "sentencepiece", "vocabulary_size": 500},
        {"unit": "sentencepiece", "vocabulary_size": 500, "sentencepiece": SentencePiece(algorithm="bpe")},
    ],
)
def test_every_unit(keys, small_text):
    data = open_text(Data(text=str(small_text), **keys))
    content = small_text.read_bytes()
    assert list(data.splits) == ["train", "valid", "test"]
    assert sum(split.bytes for split in data.splits.values()) == len(content)
    assert sum(split.characters or 0 for split in data.splits.values()) == len(content)
    assert data.vocabulary.unit == keys["unit"]
    assert data.source == str(small_text)
    text = "".join(data.vocabulary.decode(split.tokens) for split in data.splits.values())
    if data.vocabulary.lossless:
        assert text.encode() == content
    else:
        assert "<unk>" in text


def test_tokens_are_mapped_and_small(small_text):
    tokens = open_text(Data(text=str(small_text))).splits["train"].tokens
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint8
    assert not tokens.flags.writeable


def test_a_second_call_encodes_nothing(small_text, monkeypatch):
    keys = Data(text=str(small_text), unit="word")
    first = open_text(keys)
    monkeypatch.setattr(opening, "write_tokens", lambda *_: pytest.fail("encoded again"))
    second = open_text(keys)
    assert second.fingerprint == first.fingerprint
    assert second.vocabulary.contents() == first.vocabulary.contents()


def test_the_same_text_elsewhere_and_compressed_is_the_same(tmp_path, small_text, monkeypatch):
    first = open_text(Data(text=str(small_text)))
    (tmp_path / "other.gz").write_bytes(gzip.compress(small_text.read_bytes()))
    monkeypatch.setattr(opening, "write_tokens", lambda *_: pytest.fail("encoded again"))
    assert open_text(Data(text=str(tmp_path / "other.gz"))).fingerprint == first.fingerprint


def test_changed_text_or_settings_are_not_the_same(tmp_path, small_text):
    path = tmp_path / "a.txt"
    path.write_bytes(small_text.read_bytes())
    before = open_text(Data(text=str(path)))
    assert open_text(Data(text=str(path), unit="byte")).fingerprint != before.fingerprint
    path.write_bytes(small_text.read_bytes().replace(b"the", b"eth"))
    after = open_text(Data(text=str(path)))
    assert after.fingerprint != before.fingerprint
    assert "eth" in after.vocabulary.decode(after.splits["train"].tokens)


def test_damaged_tokens_are_made_anew(small_text, own_data):
    keys = Data(text=str(small_text))
    first = open_text(keys).fingerprint
    (folder,) = (own_data / "tokens").iterdir()
    content = (folder / "train.npy").read_bytes()
    for damaged in ("train.npy", "vocabulary.json", "tokens.json"):
        (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-10])
        assert open_text(keys).fingerprint == first
        assert (folder / "train.npy").read_bytes() == content
    assert [path.name for path in (own_data / "tokens").iterdir()] == [folder.name]


def test_the_vocabulary_is_of_the_training_text_alone(tmp_path):
    for name, content in {"train": "abc abc", "valid": "abc z", "test": "cba"}.items():
        (tmp_path / name).write_text(content * 3 + "\n")
    splits = TextSplits(train=f"{tmp_path}/train", valid=f"{tmp_path}/valid", test=f"{tmp_path}/test")
    with pytest.raises(RequestError, match=r"'z' \(U\+007A\) at line 1, column 5 is not in the vocabulary") as caught:
        open_text(Data(text=splits))
    assert caught.value.place is not None
    assert caught.value.place.source == f"{tmp_path}/valid"
    words = open_text(Data(text=splits, unit="word")).vocabulary
    assert isinstance(words, WordVocabulary)
    assert "z" not in words.tokens


def test_a_vocabulary_of_ones_own(tmp_path, small_text):
    text = Data(text=str(small_text))
    given = CharVocabulary([chr(point) for point in range(128)])
    data = open_text(text, given)
    assert data.splits["train"].tokens[:20].tolist() == list(small_text.read_bytes()[:20])
    given.save(tmp_path)
    named = open_text(Data(text=str(small_text), vocabulary=str(tmp_path / "vocabulary.json")))
    assert named.fingerprint == data.fingerprint


def test_a_vocabulary_file_that_changed_is_read_again(tmp_path):
    (tmp_path / "text").write_text("a b c\n" * 40)
    keys = Data(text=str(tmp_path / "text"), unit="word", vocabulary=str(tmp_path / "vocab.txt"))
    (tmp_path / "vocab.txt").write_text("<unk>\na\n<eos>\n")
    assert open_text(keys).splits["train"].tokens[:4].tolist() == [1, 0, 0, 2]
    (tmp_path / "vocab.txt").write_text("<unk>\na\n<eos>\nb\n")
    assert open_text(keys).splits["train"].tokens[:4].tolist() == [1, 3, 0, 2]


def test_iterables_of_strings():
    rows = {"train": iter(["the cat", "the dog"]), "valid": ["a cat"]}
    data = TextData.from_iterables(rows, Data(unit="word"))
    assert list(data.splits) == ["train", "valid"]
    assert data.vocabulary.decode(data.splits["train"].tokens) == "the cat\nthe dog\n"
    assert data.vocabulary.decode(data.splits["valid"].tokens) == "<unk> cat\n"
    assert data.splits["train"].characters == 16


def test_a_size_that_the_corpus_does_not_have_is_noted(capsys):
    actual = len(open_text(Data(corpus="python-docs")).vocabulary)
    open_text(Data(corpus="python-docs", vocabulary_size=actual))
    assert capsys.readouterr().err == ""
    open_text(Data(corpus="python-docs", vocabulary_size=50))
    assert capsys.readouterr().err == f"note: data.vocabulary_size is 50, and the text gives {actual} symbols\n"


def test_a_size_that_a_base_states_of_its_corpus_is_nothing_to_own_text(small_text, capsys):
    open_text(Data(corpus="python-docs", text=str(small_text), vocabulary_size=50))
    assert capsys.readouterr().err == ""


def test_the_saved_vocabulary_is_the_runs(tmp_path, small_text):
    data = open_text(Data(text=str(small_text), unit="sentencepiece", vocabulary_size=400))
    data.vocabulary.save(tmp_path)
    loaded = load_vocabulary(tmp_path)
    assert loaded.decode(data.splits["valid"].tokens) == data.vocabulary.decode(data.splits["valid"].tokens)


def test_python_docs_is_prepared_without_being_asked(own_data):
    data = open_text(Data(corpus="python-docs"))
    assert (own_data / "corpora" / "python-docs" / "corpus.json").is_file()
    assert data.source == "python-docs"
    assert 80 < len(data.vocabulary) < 200
    sizes = {split: part.characters for split, part in data.splits.items()}
    assert sum(sizes.values()) > 300_000
    assert sizes["train"] == sum(sizes.values()) * 90 // 100


class TestOrder:
    """`strip_spaces` and `reverse`."""

    @pytest.mark.parametrize("unit", ["char", "byte"])
    def test_spaces_are_not_read_and_become_the_gold(self, small_text, unit):
        content = small_text.read_bytes()
        data = open_text(Data(text=str(small_text), unit=unit, strip_spaces=True))
        text = "".join(data.vocabulary.decode(split.tokens) for split in data.splits.values())
        assert text.encode() == content.replace(b" ", b"")
        assert sum(split.characters for split in data.splits.values()) == len(text)
        assert sum(split.bytes for split in data.splits.values()) == len(text)
        assert (unit == "byte") == (len(data.vocabulary) == 256)
        assert unit == "byte" or " " not in data.vocabulary.tokens
        # Without its line feeds and what stands at the ends of lines, the text is given back by its gold.
        train = data.splits["train"]
        units = train.gold.levels["words"] & ~train.gold.ends
        words = "".join(
            data.vocabulary.token(int(token)) + " " * int(end) for token, end in zip(train.tokens, units, strict=True)
        )
        original = content[: len(content) * 9 // 10].decode()
        assert words.split("\n") == [" ".join(line.split()) for line in original.split("\n")]

    def test_backwards_is_the_same_text_from_its_end(self, small_text, monkeypatch):
        for strip in (False, True):
            forward = open_text(Data(text=str(small_text), strip_spaces=strip))
            with monkeypatch.context() as patch:
                patch.setattr(opening, "write_tokens", lambda *_: pytest.fail("encoded again"))
                backward = open_text(Data(text=str(small_text), strip_spaces=strip, reverse=True))
            assert backward.fingerprint != forward.fingerprint
            for split, read in forward.splits.items():
                assert np.array_equal(backward.splits[split].tokens[::-1], read.tokens)
                assert backward.splits[split].characters == read.characters

    def test_damaged_counts_of_spaces_are_made_anew(self, small_text, own_data):
        keys = Data(text=str(small_text), strip_spaces=True)
        first = open_text(keys).splits["valid"].gold
        (folder,) = (own_data / "tokens").iterdir()
        (folder / "valid.gaps.npy").write_bytes(b"")
        assert np.array_equal(open_text(keys).splits["valid"].gold.levels["words"], first.levels["words"])

    def test_places_of_faults_are_those_of_the_file(self, tmp_path):
        for name, content in {"train": "a b c\n", "valid": "a b\nc  z"}.items():
            (tmp_path / name).write_text(content)
        splits = TextSplits(train=f"{tmp_path}/train", valid=f"{tmp_path}/valid")
        with pytest.raises(RequestError, match=r"'z' \(U\+007A\) at line 2, column 4 is not"):
            open_text(Data(text=splits, strip_spaces=True))
        (tmp_path / "valid").write_bytes(b"a b\n c\xff")
        with pytest.raises(RequestError, match=r"the byte 0xff at offset 6 \(line 2\) is not UTF-8"):
            open_text(Data(text=splits, strip_spaces=True))

    def test_only_symbols_have_an_order(self, small_text):
        for unit in ("word", "sentencepiece"):
            for key in ("strip_spaces", "reverse"):
                keys = Data(text=str(small_text), unit=unit, vocabulary_size=300, **{key: True})
                assert fault(keys).key == f"data.{key}"
                with pytest.raises(KeyFault, match=f"{key} is for the units char and byte, and data.unit is {unit}"):
                    open_text(keys, CharVocabulary("ab"))

    def test_own_text_in_the_place_of_a_corpus_has_no_levels_of_it(self, tmp_path):
        (tmp_path / "a.txt").write_text("a b  c d  e f\n" * 30)
        splits = open_text(Data(corpus="nested-lexicon", text=str(tmp_path / "a.txt"), strip_spaces=True)).splits
        assert list(splits["train"].gold.levels) == ["words"]
        read = read_text("ab", CharVocabulary("ab "), Data(corpus="nested-lexicon"))
        assert read.gold is None
        read = read_text("a b  a", CharVocabulary("ab "), Data(corpus="nested-lexicon"))
        assert list(read.gold.levels) == ["words", "phrases"]

    def test_a_corpus_without_splits_is_its_own_validation(self, tmp_path, monkeypatch):
        whole = Corpus("whole", "d", "l", "c", lambda _: {"train": [b"a b\n", b"c\n"]})
        monkeypatch.setattr(sources, "load_corpus", lambda _: whole)
        data = open_text(Data(corpus="whole", strip_spaces=True))
        assert list(data.splits) == ["train", "valid"]
        assert all(split.whole for split in data.splits.values())
        assert np.array_equal(data.splits["valid"].tokens, data.splits["train"].tokens)


def fault(data: Data) -> KeyFault:
    with pytest.raises(KeyFault) as caught:
        open_text(data)
    return caught.value


class TestFaults:
    def test_an_unknown_corpus(self):
        error = fault(Data(corpus="wikitext2"))
        assert error.key == "data.corpus"
        assert error.message == "unknown corpus `wikitext2`"
        assert error.suggestion == "did you mean `wikitext-2`?"

    def test_a_corpus_that_is_not_prepared(self):
        error = fault(Data(corpus="ptb"))
        assert error.key == "data.corpus"
        assert str(error) == (
            "error: the corpus `ptb` is not prepared\n"
            "hint: `lsseq data prepare ptb` fetches it, or takes files at hand with --from FOLDER"
        )

    def test_no_text_at_all(self):
        error = fault(Data())
        assert (error.key, error.message) == ("data.corpus", "no text is named")

    def test_own_text_takes_the_place_of_the_corpus(self, small_text):
        assert open_text(Data(corpus="ptb", text=str(small_text))).source == str(small_text)

    def test_a_missing_file(self, tmp_path):
        error = fault(Data(text=str(tmp_path / "none.txt")))
        assert (error.key, error.message) == ("data.text", f"there is no file or folder {tmp_path / 'none.txt'}")
        assert error.exit_code == 2

    @pytest.mark.parametrize("unit", ["char", "byte", "word", "sentencepiece"])
    def test_an_empty_file(self, tmp_path, unit):
        (tmp_path / "empty.txt").write_text("")
        error = fault(Data(text=str(tmp_path / "empty.txt"), unit=unit, vocabulary_size=300))
        assert (error.key, error.message) == ("data.text", f"the train split of {tmp_path / 'empty.txt'} is empty")

    def test_a_text_too_short_for_three_splits(self, tmp_path):
        (tmp_path / "a.txt").write_text("0123456789")
        assert fault(Data(text=str(tmp_path / "a.txt"))).message == f"the valid split of {tmp_path / 'a.txt'} is empty"

    def test_spaces_are_no_words(self, tmp_path):
        (tmp_path / "a.txt").write_text(" " * 100)
        error = fault(Data(text=str(tmp_path / "a.txt"), unit="word"))
        assert error.message == f"the train split of {tmp_path / 'a.txt'} is empty"

    def test_an_undecodable_byte(self, tmp_path):
        for unit in ("char", "word", "sentencepiece"):
            (tmp_path / "a.txt").write_bytes(b"good text\n" * 100 + b"caf\xe9\n" + b"good text\n" * 100)
            with pytest.raises(RequestError) as caught:
                open_text(Data(text=str(tmp_path / "a.txt"), unit=unit, vocabulary_size=300))
            assert str(caught.value).splitlines()[:2] == [
                "error: the byte 0xe9 at offset 1003 (line 101) is not UTF-8",
                f"  --> {tmp_path / 'a.txt'}:101",
            ]
        assert open_text(Data(text=str(tmp_path / "a.txt"), unit="byte")).splits["train"].characters is None

    def test_keys_that_the_unit_cannot_serve(self, small_text, tmp_path):
        text = str(small_text)
        (tmp_path / "v.txt").write_text("a\n")
        assert fault(Data(text=text, minimum_count=2)).key == "data.minimum_count"
        open_text(Data(text=text))
        # The tokens that are there already do not make it right.
        assert fault(Data(text=text, minimum_count=2)).key == "data.minimum_count"
        assert fault(Data(text=text, unit="byte", vocabulary=str(tmp_path / "v.txt"))).key == "data.vocabulary"
        assert fault(Data(text=text, unit="word", vocabulary_size=2)).key == "data.vocabulary_size"
        assert fault(Data(text=text, vocabulary=str(tmp_path / "none"))).key == "data.vocabulary"

    def test_sentencepiece_sizes(self, small_text):
        text = str(small_text)
        missing = fault(Data(text=text, unit="sentencepiece"))
        assert (missing.key, missing.message) == (
            "data.vocabulary_size",
            "`data.unit=sentencepiece` needs a vocabulary_size",
        )
        small = fault(Data(text=text, unit="sentencepiece", vocabulary_size=100))
        assert small.key == "data.vocabulary_size"
        assert small.message.startswith("sentencepiece: 100 are too few: the bytes and the characters")
        huge = fault(Data(text=text, unit="sentencepiece", vocabulary_size=10**11))
        assert (huge.key, "100000000000" in huge.message) == ("data.vocabulary_size", True)

    def test_a_hostile_vocabulary_is_refused(self, small_text, tmp_path):
        (tmp_path / "v.pkl").write_bytes(pickle.dumps(print))
        with pytest.raises(RequestError, match=r"it asks for `builtins\.print`"):
            open_text(Data(text=str(small_text), unit="word", vocabulary=str(tmp_path / "v.pkl")))
