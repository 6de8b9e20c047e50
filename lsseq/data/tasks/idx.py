"""IDX files, the format of MNIST (LeCun): two zero bytes, the type of the values, the number of dimensions, each
dimension as a big-endian integer of four bytes, and the values."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lsseq.data.text import chunks
from lsseq.errors import Place, RequestError

UNSIGNED_BYTES = 0x08


def read_idx(path: Path, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The values of an IDX file of unsigned bytes, plain or .gz.

    Args:
        path: of the file.
        dimensions: how many it must have: 3 for images, 1 for labels.

    Raises:
        RequestError: it is no such file, it was cut off, or something stands behind its values.
    """
    content = b"".join(chunks(path))
    magic = struct.pack(">I", UNSIGNED_BYTES << 8 | dimensions)
    if content[:4] != magic:
        found = content[:4].hex(" ") or "nothing"
        message = (
            f"it is not an IDX file of bytes in {dimensions} dimensions: it begins with {found}, not {magic.hex(' ')}"
        )
        raise RequestError(message, Place(str(path)))
    begin = 4 + 4 * dimensions
    if len(content) < begin:
        raise RequestError("the IDX file ends within its dimensions", Place(str(path)))
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    if len(content) - begin != prod(shape):
        said = "×".join(map(str, shape))
        message = f"the IDX file has {len(content) - begin:,} values, and its head says {said} = {prod(shape):,}"
        raise RequestError(message, Place(str(path)))
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
