"""Vocabularies: characters, bytes, words and sentencepiece pieces."""

from lsseq.data.vocabulary.base import Vocabulary
from lsseq.data.vocabulary.given import from_torchtext
from lsseq.data.vocabulary.pieces import SentencePieceVocabulary
from lsseq.data.vocabulary.store import load_vocabulary
from lsseq.data.vocabulary.symbols import ByteVocabulary, CharVocabulary
from lsseq.data.vocabulary.words import WordVocabulary

__all__ = [
    "ByteVocabulary",
    "CharVocabulary",
    "SentencePieceVocabulary",
    "Vocabulary",
    "WordVocabulary",
    "from_torchtext",
    "load_vocabulary",
]
