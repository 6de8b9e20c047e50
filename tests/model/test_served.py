"""A recipe that sets what its recurrence does not serve is told which key."""

from __future__ import annotations

import pytest

from lsseq.model.served import serves
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Model


@pytest.mark.parametrize(
    ("section", "keys", "refused"),
    [
        ({}, (), None),
        ({"zoneout": {"cell": 0.5}}, (), "zoneout.cell"),
        ({"zoneout": {"cell": 0.5}}, ("zoneout",), None),
        ({"zoneout": {"cell": 0.5}}, ("zoneout.cell",), None),
        ({"zoneout": {"cell": 0.5}}, ("zoneout.hidden",), "zoneout.cell"),
        ({"rank": 3, "tied_rank": True}, ("rank",), "tied_rank"),
        ({"boundary": {"prior": {"kind": "ratio", "rate": 0.2}}}, ("boundary.slope",), "boundary.prior"),
        ({"boundary": {"prior": {"kind": "ratio", "rate": 0.2}}}, ("boundary",), None),
        ({"layers": 2, "embedding": 7, "dropout": {"input": 0.1, "mask": "step"}}, (), None),
        ({"dropout": {"hidden": 0.1}}, (), "dropout.hidden"),
        ({"norm": "layer"}, ("norm=layer",), None),
    ],
)
def test_keys_that_are_served(section: dict[str, object], keys: tuple[str, ...], refused: str | None) -> None:
    model = Model.model_validate(section)
    if refused is None:
        serves(model, *keys)
        return
    with pytest.raises(KeyFault) as caught:
        serves(model, *keys)
    assert caught.value.key == f"model.{refused}"
    assert caught.value.message == f"the recurrence `lstm` has no `{refused}`"


def test_a_key_that_is_served_with_one_value() -> None:
    with pytest.raises(KeyFault, match="the recurrence `lstm` has no `norm: batch`"):
        serves(Model.model_validate({"norm": "batch", "norm_steps": 3}), "norm=layer", "norm_steps")
