"""The package can be used alone, and its documentation's example runs."""

from __future__ import annotations

import lsseq.nn as lnn


def test_the_example_of_the_package_runs(capsys) -> None:
    lines = [line[4:] for line in lnn.__doc__.splitlines() if line.startswith("    ")]
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert names["output"].shape == (100, 8, 64)
    assert names["h"].shape == names["c"].shape == (2, 8, 64)
    assert capsys.readouterr().out == names["lstm"].explain() + "\n"


def test_public_names_exist() -> None:
    assert all(getattr(lnn, name) is not None for name in lnn.__all__)
