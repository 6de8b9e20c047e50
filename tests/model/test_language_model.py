"""The language model against definitions written out here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_run import tiny_model
from torch import Tensor

from lsseq.data.batches import START, Batch
from lsseq.nn.state import detach_state

T, B, V = 9, 3, 7


def batch(mask: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, V, (T + 1, B), generator=generator)
    tokens[0] = START
    counted = torch.arange(T).unsqueeze(1) < torch.tensor([T, T, 5]) if mask else None
    return Batch(tokens[:-1], tokens[1:], counted)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def naive_nll(parameters: dict[str, np.ndarray], read: Batch) -> np.ndarray:
    """(T, B) nats of a one-layer LSTM language model, one token at a time in float64."""
    p = parameters
    H = p["recurrence.rnn.weight_hh_l0"].shape[1]
    nll = np.zeros((T, B))
    for b in range(B):
        h, c = np.zeros(H), np.zeros(H)
        for t in range(T):
            token = int(read.inputs[t, b])
            x = np.zeros(p["embedding.weight"].shape[1]) if token < 0 else p["embedding.weight"][token]
            gates = p["recurrence.rnn.weight_ih_l0"] @ x + p["recurrence.rnn.bias_ih_l0"]
            gates = gates + p["recurrence.rnn.weight_hh_l0"] @ h + p["recurrence.rnn.bias_hh_l0"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            logits = p.get("output.weight", p["embedding.weight"]) @ h + p["output.bias"]
            nll[t, b] = np.log(np.exp(logits).sum()) - logits[int(read.targets[t, b])]
    return nll


def arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("keys", [{}, {"tied": True, "embedding": 6}])
def test_score_is_the_definition(keys: dict[str, object]) -> None:
    model = tiny_model(**keys)
    with torch.no_grad():
        model.output.bias.uniform_(-1, 1)
    score = model.score(batch(), None)
    np.testing.assert_allclose(score.nll.detach().numpy(), naive_nll(arrays(model), batch()), rtol=1e-12)


def test_loss_is_the_mean_over_the_tokens_that_count() -> None:
    model = tiny_model()
    masked = batch(mask=True)
    expected = naive_nll(arrays(model), masked)[masked.mask.numpy()].mean()
    output = model(masked)
    assert output.loss.item() == pytest.approx(expected, rel=1e-12)
    assert output.nll.item() == output.loss.item()
    assert not output.nll.requires_grad
    assert model.score(masked).nll[~masked.mask].abs().max() == 0


def test_one_hot_is_an_embedding_by_the_identity() -> None:
    model = tiny_model(embedding="one-hot")
    parameters = arrays(model)
    assert not any(name.startswith("embedding") for name in parameters)
    parameters["embedding.weight"] = np.eye(V)
    np.testing.assert_allclose(model.score(batch()).nll.detach().numpy(), naive_nll(parameters, batch()), rtol=1e-12)


def test_one_hot_has_the_type_of_the_weights() -> None:
    model = tiny_model(embedding="one-hot", double=False)
    assert model.features(batch().inputs)[0].dtype == torch.float32


def test_a_tied_weight_is_stored_once_and_gets_both_gradients() -> None:
    model = tiny_model(tied=True, embedding=6)
    assert "output.weight" not in model.state_dict()
    assert model.output.matrix is model.embedding.weight
    model(batch()).loss.backward()
    from_input = tiny_model(embedding=6)
    with torch.no_grad():
        from_input.load_state_dict({**model.state_dict(), "output.weight": model.embedding.weight})
    from_input(batch()).loss.backward()
    torch.testing.assert_close(
        model.embedding.weight.grad, from_input.embedding.weight.grad + from_input.output.weight.grad
    )


def test_regularisers_against_their_formulae() -> None:
    plain = tiny_model()
    model = tiny_model(regularisation={"activation": 2.0, "slowness": 3.0})
    h = plain.features(batch().inputs)[0].detach().numpy()
    ar, tar = np.mean(h**2), np.mean((h[1:] - h[:-1]) ** 2)
    output = model(batch())
    assert output.nll.item() == plain(batch()).loss.item()
    assert output.loss.item() == pytest.approx(output.nll.item() + 2 * ar + 3 * tar, rel=1e-12)


def test_regularisers_leave_padding_out() -> None:
    model = tiny_model(regularisation={"activation": 2.0, "slowness": 3.0})
    masked = batch(mask=True)
    h = model.features(masked.inputs)[0].detach().numpy()
    counted = masked.mask.numpy()
    ar = np.mean(h[counted] ** 2)
    tar = np.mean((h[1:] - h[:-1])[counted[1:]] ** 2)
    output = model(masked)
    assert output.loss.item() == pytest.approx(output.nll.item() + 2 * ar + 3 * tar, rel=1e-12)


def test_slowness_of_a_single_step_is_nothing() -> None:
    model = tiny_model(regularisation={"slowness": 3.0})
    one = Batch(batch().inputs[:1], batch().targets[:1])
    output = model(one)
    assert output.loss.item() == output.nll.item()


def test_activation_regulariser_sees_the_dropped_output() -> None:
    model = tiny_model(regularisation={"activation": 1.0}, dropout={"output": 0.5}).train()
    seen: list[Tensor] = []
    model.output_dropout.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    output = model(batch())
    assert (seen[0] == 0).any()
    assert (output.loss - output.nll).item() == pytest.approx(seen[0].square().mean().item(), rel=1e-12)


def test_state_carried_over_windows_equals_one_window() -> None:
    for keys in ({}, {"hidden": [5, 6], "layers": 2}, {"recurrence": "gru"}, {"zoneout": {"cell": 0.5, "hidden": 0.1}}):
        model = tiny_model(**keys)
        whole = model.score(batch()).nll
        parts, state = [], None
        for begin, end in ((0, 4), (4, 5), (5, T)):
            score = model.score(Batch(batch().inputs[begin:end], batch().targets[begin:end]), detach_state(state))
            parts.append(score.nll)
            state = score.state
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=0)


def test_learned_initial_state_starts_at_zero_and_is_learned() -> None:
    plain, model = tiny_model(), tiny_model(learned_initial_state=True)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters()) + 2 * 6
    torch.testing.assert_close(model.score(batch()).nll, plain.score(batch()).nll, rtol=0, atol=0)
    model(batch()).loss.backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in model.initial_state.values)
    with torch.no_grad():
        model.initial_state.values[0].fill_(0.5)
    _, state, _ = model.features(batch().inputs)
    moved = model.score(batch()).nll
    assert not torch.equal(moved[0], plain.score(batch()).nll[0])
    # A carried state takes its place.
    torch.testing.assert_close(model.score(batch(), state).nll, plain.score(batch(), state).nll, rtol=0, atol=0)


@pytest.mark.parametrize("site", ["embedding", "input", "output", "hidden", "recurrent", "weight"])
def test_every_dropout_acts_in_training_only_and_repeats_with_the_seed(site: str) -> None:
    model = tiny_model(dropout={site: 0.5}, layers=2)
    plain = tiny_model(layers=2)
    torch.testing.assert_close(model.score(batch()).nll, plain.score(batch()).nll, rtol=0, atol=0)
    model.train()
    torch.manual_seed(3)
    first, second = model(batch()).loss.item(), model(batch()).loss.item()
    torch.manual_seed(3)
    again = model(batch()).loss.item()
    assert first == again
    assert len({first, second, plain(batch()).loss.item()}) == 3


def test_embedding_dropout_takes_whole_words() -> None:
    model = tiny_model(dropout={"embedding": 0.5}).train()
    torch.manual_seed(0)
    tokens = torch.arange(V).repeat(4).unsqueeze(1)
    vectors = model.embedding(tokens, torch.float64).view(4, V, -1)
    kept = (vectors != 0).all(-1)
    assert (kept == kept[0]).all()
    assert 0 < kept[0].sum() < V
    torch.testing.assert_close(vectors[0][kept[0]], 2 * model.embedding.weight[kept[0]])


@pytest.mark.parametrize("mask", ["sequence", "step"])
def test_locked_masks_last_a_window(mask: str) -> None:
    model = tiny_model(dropout={"input": 0.5, "mask": mask}, embedding=64).train()
    dropped = model.input_dropout(torch.ones(T, B, 64)) == 0
    assert bool((dropped == dropped[0]).all()) == (mask == "sequence")
    assert not torch.equal(dropped[:, 0], dropped[:, 1])


def test_gradients_of_a_whole_model() -> None:
    model = tiny_model(regularisation={"activation": 0.5, "slowness": 0.5})
    names = [name for name, _ in model.named_parameters()]

    def loss(*values: Tensor) -> Tensor:
        output = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (batch(),))
        return output.loss

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()), fast_mode=True)


def test_untrained_model_is_near_the_uniform_distribution() -> None:
    for keys in ({}, {"tied": True, "embedding": 64, "hidden": 64}, {"initialisation": {"range": 0.05}}):
        assert tiny_model(**keys)(batch()).nll.item() == pytest.approx(math.log(V), rel=0.2)
