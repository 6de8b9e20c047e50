"""text8: the first 100,000,000 characters of cleaned Wikipedia text, a to z and the space (Mahoney 2006).

Cut in order into 90, 5 and 5 million characters, as in Mikolov et al. (2012). The sum is SHA-1, as published with the
loaders of GluonNLP.
"""

from __future__ import annotations

from lsseq.data.corpus import Corpus, Published, Source, cut_at
from lsseq.data.report import script

CORPUS = Corpus(
    name="text8",
    description="text8: 100 million characters of cleaned Wikipedia text",
    licence="CC BY-SA 3.0 and GFDL (text of Wikipedia)",
    citation="Mahoney 2006, http://mattmahoney.net/dc/textdata.html",
    prepare=cut_at("text8", 90_000_000, 95_000_000),
    files=(
        Source(
            "text8",
            100_000_000,
            sha1="0dc3edebc970dcc96137e7deda4d9995af9d93de",
            urls=("http://mattmahoney.net/dc/text8.zip#text8", "https://data.deepai.org/text8.zip#text8"),
        ),
    ),
    published=(Published("char", 90_000_000, 5_000_000, 5_000_000, types=27),),
)

if __name__ == "__main__":
    script(CORPUS)
