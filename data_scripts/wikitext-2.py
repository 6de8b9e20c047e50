"""WikiText-2 (Merity et al. 2017): good and featured articles of Wikipedia, tokenised, rare words as <unk>."""

from __future__ import annotations

from lsseq.data.corpus import Corpus, Published, Source, whole_files
from lsseq.data.report import script

ARCHIVES = (
    "https://wikitext.smerity.com/wikitext-2-v1.zip",
    "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
)


def tokens(split: str, size: int, sha256: str) -> Source:
    name = f"wiki.{split}.tokens"
    return Source(name, size, sha256, urls=tuple(f"{archive}#wikitext-2/{name}" for archive in ARCHIVES))


CORPUS = Corpus(
    name="wikitext-2",
    description="WikiText-2: 2 million words of Wikipedia articles",
    licence="CC BY-SA 3.0",
    citation="Merity et al. 2017, Pointer Sentinel Mixture Models, ICLR",
    prepare=whole_files("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    files=(
        tokens("train", 10_797_148, "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f"),
        tokens("valid", 1_121_681, "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
        tokens("test", 1_256_449, "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
    ),
    published=(Published("word", 2_088_628, 217_646, 245_569, types=33_278),),
)

if __name__ == "__main__":
    script(CORPUS)
