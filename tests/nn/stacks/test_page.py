"""The examples of docs/stacks.md run."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "stacks.md").read_text(encoding="utf-8")


def test_the_examples_run() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec("".join(blocks), names)
    assert names["output"].shape == (100, 4, 64)  # type: ignore[attr-defined]
    assert names["rhn"].steps == 6  # type: ignore[attr-defined]
    assert names["norm"].statistics_c_l0.mean.any()  # type: ignore[attr-defined]
    assert len(names["short"].layers) == 1  # type: ignore[attr-defined]
