"""WikiText-103 (Merity et al. 2017): the large sibling of WikiText-2, with the same validation and test articles.

The sums are SHA-1, as published with the loaders of GluonNLP; no size is known beforehand.
"""

from __future__ import annotations

from lsseq.data.corpus import Corpus, Published, Source, whole_files
from lsseq.data.report import script

ARCHIVES = (
    "https://wikitext.smerity.com/wikitext-103-v1.zip",
    "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",
)


def tokens(split: str, sha1: str) -> Source:
    name = f"wiki.{split}.tokens"
    return Source(name, sha1=sha1, urls=tuple(f"{archive}#wikitext-103/{name}" for archive in ARCHIVES))


CORPUS = Corpus(
    name="wikitext-103",
    description="WikiText-103: 103 million words of Wikipedia articles",
    licence="CC BY-SA 3.0",
    citation="Merity et al. 2017, Pointer Sentinel Mixture Models, ICLR",
    prepare=whole_files("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    files=(
        tokens("train", "b7497e2dfe77e72cfef5e3dbc61b7b53712ac211"),
        tokens("valid", "c326ac59dc587676d58c422eb8a03e119582f92b"),
        tokens("test", "8a5befc548865cec54ed4273cf87dbbad60d1e47"),
    ),
    published=(Published("word", 103_227_021, 217_646, 245_569, types=267_735),),
)

if __name__ == "__main__":
    script(CORPUS)
