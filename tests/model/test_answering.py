"""The model of tasks against definitions written out here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lsseq.data.batches import START, Batch
from lsseq.data.tasks import Form
from lsseq.model.answering import AnsweringModel
from lsseq.model.factory import build_answering
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Model

T, B, C = 7, 3, 4
LETTERS = Form(5, symbols=True, classes=tuple("abcd"))
NUMBERS = Form(2, symbols=False, classes=None)


def model(form: Form, **keys: Any) -> AnsweringModel:
    torch.manual_seed(0)
    made = build_answering(Model.model_validate({"hidden": 6, "embedding": 3, **keys}), form).double().eval()
    with torch.no_grad():
        made.output.bias.uniform_(-1, 1)
    return made


def batch(form: Form, lengths: list[int] | None) -> Batch:
    """Random sequences; with lengths each has one answer, after its last step, and nothing behind it."""
    torch.manual_seed(1)
    inputs = torch.randint(form.inputs, (T, B)) if form.symbols else torch.rand(T, B, form.inputs)
    targets = torch.randint(C, (T, B)) if form.classes else torch.rand(T, B)
    if lengths is None:
        return Batch(inputs, targets)
    steps = torch.arange(1, T + 1).unsqueeze(1)
    if form.symbols:
        inputs = inputs.masked_fill(steps > torch.tensor(lengths), START)
    return Batch(inputs, targets, steps == torch.tensor(lengths))


def answers(made: AnsweringModel, read: Batch, column: int, steps: int) -> torch.Tensor:
    """(steps, C): what it answers at each step of one sequence, read alone by torch's own LSTM."""
    lstm = torch.nn.LSTM(made.embedding.output_size, 6).double()
    lstm.load_state_dict(made.recurrence.rnn.state_dict())  # type: ignore[union-attr]
    x = read.inputs[:steps, column : column + 1]
    vectors = made.embedding.weight[x] if made.embedding.__class__.__name__ == "TokenInput" else x.double()  # type: ignore
    return made.output(lstm(vectors)[0][:, 0])


def error_of(answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if answer.shape[-1] == 1:
        return (answer[..., 0] - target) ** 2
    return F.cross_entropy(answer, target, reduction="none")


@pytest.mark.parametrize("form", [LETTERS, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("lengths", [None, [7, 2, 5]], ids=["each step", "at the end"])
def test_score_and_loss_are_the_definition(form: Form, lengths: list[int] | None) -> None:
    made, read = model(form), batch(form, lengths)
    score, output = made.score(read), made(read)
    expected = torch.zeros(T, B, dtype=torch.float64)
    for column in range(B):
        steps = T if lengths is None else lengths[column]
        errors = error_of(answers(made, read, column, steps), read.targets[:steps, column])
        start = 0 if lengths is None else steps - 1
        expected[start:steps, column] = errors[start:]
    torch.testing.assert_close(score.nll, expected, rtol=1e-12, atol=1e-12)
    mean = expected.sum() / (T * B if lengths is None else B)
    torch.testing.assert_close(output.loss, mean, rtol=1e-12, atol=1e-12)
    assert output.nll.item() == output.loss.item()
    assert not output.nll.requires_grad


@pytest.mark.parametrize("lengths", [None, [7, 2, 5]])
def test_correct_is_whether_the_likeliest_class_is_right(lengths: list[int] | None) -> None:
    made, read = model(LETTERS), batch(LETTERS, lengths)
    correct = made.score(read).correct
    assert correct is not None
    assert correct.dtype == torch.bool
    for column in range(B):
        for step in range(T):
            asked = lengths is None or step == lengths[column] - 1
            likeliest = int(answers(made, read, column, step + 1)[-1].argmax())
            assert bool(correct[step, column]) == (asked and likeliest == int(read.targets[step, column]))
    assert model(NUMBERS).score(batch(NUMBERS, None)).correct is None


def test_what_stands_behind_the_end_of_a_sequence_changes_nothing() -> None:
    made, read = model(LETTERS), batch(LETTERS, [7, 2, 5])
    other = Batch(read.inputs.clamp(min=3), read.targets, read.mask)
    torch.testing.assert_close(made.score(other).nll[1, 1], made.score(Batch(other.inputs[:2], other.targets[:2],
                               read.mask[:2] if read.mask is not None else None)).nll[1, 1])  # fmt: skip
    alone = Batch(read.inputs[:2, 1:2], read.targets[:2, 1:2], torch.tensor([[False], [True]]))
    assert made.score(alone).nll[1, 0].item() == pytest.approx(made.score(read).nll[1, 1].item(), rel=1e-12)


def test_the_objective() -> None:
    assert (model(LETTERS).objective, model(NUMBERS).objective) == ("nll", "mse")


def test_a_learned_initial_state_and_dropout_are_used() -> None:
    made = model(NUMBERS, learned_initial_state=True, dropout={"output": 0.5})
    read = batch(NUMBERS, None)
    before = made(read).loss
    assert made.initial_state is not None
    with torch.no_grad():
        made.initial_state.values[0].fill_(1.0)
    assert made(read).loss != before
    assert made.train()(read).loss != made(read).loss


def test_hm_lstm_answers_too() -> None:
    made = model(LETTERS, recurrence="hm-lstm", layers=2, boundary={"prior": {"kind": "binomial", "rate": 0.2}}).train()
    output = made(batch(LETTERS, [7, 2, 5]))
    assert output.loss > output.nll
    assert "boundary_rate" in output.extras


def test_parameters_of_the_copy_model() -> None:
    """Miceli Barone 2016 prints 41,738 with one input matrix for all gates; with one a gate it is 44,298, and a learned
    initial state is 128 more. Torch's GRU has a second bias a gate."""
    keys = {"hidden": 128, "rank": 50, "diagonal": True, "recurrence": "gru", "reset": "before", "embedding": "one-hot"}
    form = Form(10, symbols=True, classes=tuple("0123456789"))
    made = build_answering(Model.model_validate({**keys, "learned_initial_state": True}), form)
    assert sum(parameter.numel() for parameter in made.parameters()) == 44_298 + 128 + 3 * 128


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"tied": True, "embedding": 6, "hidden": 6}, "model.tied"),
        ({"adaptive_softmax": [2]}, "model.adaptive_softmax"),
        ({"regularisation": {"slowness": 1.0}}, "model.regularisation"),
        ({"recurrence": "hm-lstm", "layers": 2, "boundary": {"target": "own-surprise"}}, "model.boundary.target"),
    ],
)
def test_what_is_for_language_models(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(KeyFault) as caught:
        build_answering(Model.model_validate(keys), LETTERS)
    assert caught.value.key == key


def test_the_output_layer_starts_as_the_recipe_says() -> None:
    for width, limit in ((None, 1 / 16), (0.01, 0.01)):
        made = build_answering(Model.model_validate({"initialisation": {"range": width}}), NUMBERS)
        assert 0.8 * limit < made.output.weight.abs().max().item() <= limit
        assert made.output.bias.tolist() == [0.0]
