"""Text: corpora, vocabularies, tokens on disk, and the windows that models read (`lsseq.data.batches`)."""

from lsseq.data.gold import Gold
from lsseq.data.opening import Split, TextData, open_file, open_text, read_file, read_text
from lsseq.data.stretches import Stretch
from lsseq.data.vocabulary import Vocabulary, from_torchtext, load_vocabulary

__all__ = [
    "Gold",
    "Split",
    "Stretch",
    "TextData",
    "Vocabulary",
    "from_torchtext",
    "load_vocabulary",
    "open_file",
    "open_text",
    "read_file",
    "read_text",
]
