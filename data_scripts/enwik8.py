"""enwik8: the first 100,000,000 bytes of the English Wikipedia of March 2006, XML included (Hutter prize).

Cut in order into 90, 5 and 5 million bytes, wherever that falls; read it by `data.unit=byte`. The sum is the SHA-1 that
Mahoney publishes.
"""

from __future__ import annotations

from lsseq.data.corpus import Corpus, Published, Source, cut_at
from lsseq.data.report import script

CORPUS = Corpus(
    name="enwik8",
    description="enwik8: 100 million bytes of Wikipedia with its markup (Hutter prize)",
    licence="CC BY-SA 3.0 and GFDL (text of Wikipedia)",
    citation="Hutter 2006; Mahoney 2006, http://mattmahoney.net/dc/textdata.html",
    prepare=cut_at("enwik8", 90_000_000, 95_000_000),
    files=(
        Source(
            "enwik8",
            100_000_000,
            sha1="57b8363b814821dc9d47aa4d41f58733519076b2",
            urls=("http://mattmahoney.net/dc/enwik8.zip#enwik8", "https://data.deepai.org/enwik8.zip#enwik8"),
        ),
    ),
    published=(Published("byte", 90_000_000, 5_000_000, 5_000_000),),
)

if __name__ == "__main__":
    script(CORPUS)
