"""A text in stretches is the text, whatever the size of its pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsseq.data import Split, Stretch, read_file, read_text, stretches
from lsseq.data.stretches import ArrayText, Feed
from lsseq.data.text import Text, blocks
from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, Vocabulary, WordVocabulary
from lsseq.errors import RequestError
from lsseq.recipe.schema import Data

CHARS = CharVocabulary("\n abcé")
VOCABULARIES: dict[str, Vocabulary] = {"char": CHARS, "byte": ByteVocabulary()}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "PIECE", 3)
    monkeypatch.setattr(Text, "blocks", lambda self: blocks(self.chunks(), 5))


def assert_same(parts: list[Stretch], whole: Split) -> None:
    read = Stretch.joined(parts)
    assert np.array_equal(read.tokens, whole.tokens)
    assert read.tokens.dtype == whole.tokens.dtype
    assert read.gold is not None
    if whole.gold is None:
        assert not read.gold.marks
    else:
        assert read.gold.levels.keys() == whole.gold.levels.keys()
        assert all(np.array_equal(read.gold.levels[name], level) for name, level in whole.gold.levels.items())
        assert np.array_equal(read.gold.ends, whole.gold.ends)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet="abé  \n", min_size=1, max_size=40),
    unit=st.sampled_from(["char", "byte"]),
    strip=st.booleans(),
    reverse=st.booleans(),
)
def test_a_file_in_pieces(
    tmp_path_factory: pytest.TempPathFactory, text: str, unit: str, strip: bool, reverse: bool
) -> None:
    vocabulary, data = VOCABULARIES[unit], Data(corpus="nested-lexicon", strip_spaces=strip, reverse=reverse)
    whole = read_text(text, vocabulary, data)
    path = tmp_path_factory.mktemp("stretches") / "text"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "PIECE", 3)
        patch.setattr(Text, "blocks", lambda self: blocks(self.chunks(), 5))
        parts = [*read_file(path, vocabulary, data)]
        assert max(map(len, parts)) <= max(3, len(text.encode()) if " " * 3 in text else 6)
        assert_same(parts, whole)
        # The text's own spaces, taken out or not, are those of the same file.
        if whole.gold is not None and not strip:
            bare = data.model_copy(update={"strip_spaces": True})
            (path.parent / "bare").write_text(text.replace(" ", ""), encoding="utf-8", newline="")
            assert_same([*read_file(path.parent / "bare", vocabulary, data, path)], read_text(text, vocabulary, bare))


@pytest.mark.usefixtures("small_pieces")
def test_words_are_those_of_the_whole_text(tmp_path: Path) -> None:
    vocabulary, data = WordVocabulary(["<eos>", "<unk>", "a", "bc"], "<unk>"), Data(unit="word")
    text = "a bc a\nbc bc d\n"
    (tmp_path / "text").write_text(text)
    parts = [*read_file(tmp_path / "text", vocabulary, data)]
    assert len(parts) > 1
    assert all(part.gold is None for part in parts)
    assert np.array_equal(Stretch.joined(parts).tokens, read_text(text, vocabulary, data).tokens)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(("content", "told"), [(b"a b\nab  d", "'d'"), (b"a b\nab  \xff", "the byte 0xff")])
def test_faults_have_their_place(tmp_path: Path, strip: bool, content: bytes, told: str) -> None:
    (tmp_path / "text").write_bytes(content)
    messages = []
    for read in (
        lambda: [*read_file(tmp_path / "text", CHARS, Data(strip_spaces=strip))],
        lambda: read_text(content, CHARS, Data(strip_spaces=strip), str(tmp_path / "text")),
    ):
        with pytest.raises(RequestError, match=told) as caught:
            read()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "text:2" in messages[0]


def test_a_feed_gives_what_is_asked_for() -> None:
    feed = Feed([Stretch(np.arange(5)), Stretch(np.arange(0)), Stretch(np.arange(5, 9))])
    assert [part if part is None else part.tokens.tolist() for part in map(feed.take, (2, 0, 5, 4, 1))] == [
        *([0, 1], [], [2, 3, 4, 5, 6], [7, 8], None),
    ]


def test_arrays_come_in_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "PIECE", 4)
    tokens = np.arange(10)
    parts = [*ArrayText(tokens, None)]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert all(np.shares_memory(part.tokens, tokens) for part in parts)
