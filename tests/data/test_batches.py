"""Windows: every token once in evaluation, exact positions in training, the input is the token before the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data.batches import PIECES_TOGETHER, START, Batch, Window, evaluation_windows, training_windows
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Training


def numbered(length: int) -> np.ndarray:
    """Tokens that are their own positions, so that a window shows where it was read."""
    return np.arange(length, dtype=np.int32)


def training(**keys) -> Training:
    return Training(steps=1, **keys)


def taken(windows, count: int) -> list[Window]:
    return [windows.next() for _ in range(count)]


def same(a: Window, b: Window) -> bool:
    return (
        torch.equal(a.batch.inputs, b.batch.inputs)
        and torch.equal(a.batch.targets, b.batch.targets)
        and (a.fresh, a.epoch, a.ends_epoch, a.lr_scale) == (b.fresh, b.epoch, b.ends_epoch, b.lr_scale)
    )


def counted(windows: list[Window]) -> list[int]:
    """The targets that count, in no order."""
    found: list[int] = []
    for window in windows:
        targets, mask = window.batch.targets, window.batch.mask
        found += (targets if mask is None else targets[mask]).flatten().tolist()
    return found


class TestBatch:
    def test_tokens_are_the_targets_that_count(self):
        targets = torch.zeros(3, 2, dtype=torch.int64)
        assert Batch(targets, targets).tokens == 6
        assert Batch(targets, targets, torch.tensor([[True, True], [True, False], [False, False]])).tokens == 3

    def test_to_moves_all_parts(self):
        targets = torch.zeros(3, 2, dtype=torch.int64)
        moved = Batch(targets, targets, targets == 0, targets.unsqueeze(-1) == 0).to("meta")
        assert moved.inputs.is_meta
        assert moved.targets.is_meta
        assert moved.mask is not None
        assert moved.mask.is_meta
        assert moved.marks is not None
        assert moved.marks.is_meta


class TestMarks:
    @pytest.mark.parametrize(("windows", "random"), [("stream", False), ("stream", True), ("pieces", False)])
    def test_they_stand_beside_the_inputs(self, windows, random):
        """Tokens are their positions, so the marks of a window can be read off its inputs."""
        tokens = numbered(1000)
        marks = np.stack([tokens % 3 == 0, tokens % 5 == 1], axis=1)
        keys = training(batch=4, bptt=12, windows=windows, random_bptt=random)
        windows = training_windows(tokens, keys, None)
        windows.teach(marks)
        for window in taken(windows, 60):
            batch = window.batch
            assert batch.marks is not None
            known = batch.inputs >= 0
            assert torch.equal(batch.marks[known], torch.from_numpy(marks)[batch.inputs[known]])
            assert not batch.marks[~known].any()

    def test_without_there_are_none(self):
        assert training_windows(numbered(100), training(batch=2, bptt=5), None).next().batch.marks is None


class TestStreams:
    def test_two_streams_by_hand(self):
        windows = training_windows(numbered(9), training(batch=2, bptt=3), start=None)
        first, second, third = taken(windows, 3)
        assert first.batch.targets.tolist() == [[0, 4], [1, 5], [2, 6]]
        assert first.batch.inputs.tolist() == [[START, 3], [0, 4], [1, 5]]
        assert (first.fresh, first.epoch, first.ends_epoch) == (True, 0, False)
        assert second.batch.targets.tolist() == [[3, 7]]
        assert second.batch.inputs.tolist() == [[2, 6]]
        assert (second.fresh, second.epoch, second.ends_epoch) == (False, 0, True)
        assert (third.fresh, third.epoch) == (True, 1)
        assert windows.windows_per_epoch == 2
        assert windows.tokens_per_epoch == 8

    def test_the_start_token_is_fed_first(self):
        window = training_windows(numbered(4), training(batch=1, bptt=2), start=7).next()
        assert window.batch.inputs.tolist() == [[7], [0]]

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
    def test_tensors_are_contiguous_int64(self, dtype):
        tokens = (numbered(100) % 50).astype(dtype)
        for windows in ("stream", "pieces"):
            batch = training_windows(tokens, training(batch=3, bptt=5, windows=windows), None).next().batch
            for tensor in (batch.inputs, batch.targets):
                assert tensor.dtype == torch.int64
                assert tensor.is_contiguous()

    def test_random_lengths_vary_about_bptt_and_scale_the_rate(self):
        windows = training_windows(numbered(400_000), training(batch=1, bptt=70, random_bptt=True), None)
        seen = taken(windows, 3000)
        lengths = np.array([len(window.batch.targets) for window in seen])
        assert lengths.min() >= 5
        assert 66 < lengths.mean() < 70  # 0.95 * 70 + 0.05 * 35 = 68.25, less the truncation to whole steps
        assert 0.03 < (lengths < 52).mean() < 0.07
        assert [window.lr_scale for window in seen] == [length / 70 for length in lengths]

    def test_random_lengths_differ_by_epoch_and_seed(self):
        def lengths(seed: int, count: int = 60) -> list[int]:
            keys = training(batch=1, bptt=50, random_bptt=True, seed=seed)
            return [len(w.batch.targets) for w in taken(training_windows(numbered(1000), keys, None), count)]

        assert lengths(1) == lengths(1)
        assert lengths(1) != lengths(2)
        assert lengths(1)[:15] != lengths(1)[20:35]

    def test_too_short(self):
        with pytest.raises(KeyFault, match="3 training tokens are too few for 4 streams") as caught:
            training_windows(numbered(3), training(batch=4), None)
        assert caught.value.key == "training.batch"


class TestPieces:
    def test_an_epoch_reads_whole_pieces_once(self):
        windows = training_windows(numbered(103), training(batch=3, bptt=10, windows="pieces"), None)
        seen = taken(windows, windows.windows_per_epoch)
        targets = torch.cat([window.batch.targets for window in seen], dim=1)
        assert targets.shape == (10, 9)
        assert windows.tokens_per_epoch == 90
        assert len(set(targets.flatten().tolist())) == 90
        assert (targets[1:] - targets[:-1] == 1).all()
        assert len({int(start) % 10 for start in targets[0]}) == 1
        assert all(window.fresh for window in seen)
        assert [window.ends_epoch for window in seen] == [False, False, True]

    def test_each_epoch_cuts_and_shuffles_anew(self):
        windows = training_windows(numbered(10_000), training(batch=10, bptt=10, windows="pieces"), None)
        starts = [
            tuple(window.batch.targets[0].tolist())
            for window in taken(windows, 3 * windows.windows_per_epoch)
            if window.epoch in (0, 1, 2)
        ]
        per_epoch = windows.windows_per_epoch
        assert len({start[0] % 10 for start in starts[::per_epoch]}) > 1
        assert starts[:per_epoch] != starts[per_epoch : 2 * per_epoch]

    def test_inputs_are_the_tokens_before(self):
        windows = training_windows(numbered(1000), training(batch=10, bptt=10, windows="pieces"), None)
        for window in taken(windows, 30):
            expected = window.batch.targets - 1
            assert torch.equal(window.batch.inputs, torch.where(expected < 0, START, expected))

    def test_too_short(self):
        with pytest.raises(KeyFault, match=r"30 training tokens are too few for 4 pieces of 10 \(`training.bptt`\)"):
            training_windows(numbered(30), training(batch=4, bptt=10, windows="pieces"), None)

    def test_random_lengths_are_refused(self):
        with pytest.raises(KeyFault) as caught:
            training_windows(numbered(30), training(windows="pieces", random_bptt=True), None)
        assert caught.value.key == "training.random_bptt"


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["stream", "random", "pieces"]),
    length=st.integers(60, 300),
    batch=st.integers(1, 4),
    bptt=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    skipped=st.integers(0, 60),
)
def test_seek_goes_on_with_identical_windows(kind, length, batch, bptt, seed, skipped):
    keys = training(
        batch=batch,
        bptt=bptt,
        seed=seed,
        windows="pieces" if kind == "pieces" else "stream",
        random_bptt=kind == "random",
    )
    read = training_windows(numbered(length), keys, None)
    taken(read, skipped)
    position = read.position()
    assert all(type(value) is int for value in position.values())
    fresh = training_windows(numbered(length), keys, None)
    fresh.seek(position)
    for expected, found in zip(taken(read, 25), taken(fresh, 25), strict=True):
        assert same(expected, found)


@pytest.mark.parametrize(
    ("kind", "position"),
    [
        ("stream", {"epoch": 0, "window": 1, "offset": 30}),
        ("stream", {"epoch": 0, "window": 1, "offset": -1}),
        ("pieces", {"epoch": 0, "window": 14}),
        ("pieces", {"epoch": 0, "window": -1}),
    ],
)
def test_no_window_begins_elsewhere(kind, position):
    read = training_windows(numbered(60), training(batch=2, bptt=2, windows=kind), None)
    assert read.windows_per_epoch == (15 if kind == "stream" else 14)
    with pytest.raises(ValueError, match="no window begins at"):
        read.seek(position)
    assert read.position() == dict.fromkeys(position, 0)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(4, 300), batch=st.integers(1, 4), bptt=st.integers(1, 40), random=st.booleans())
def test_an_epoch_of_streams_reads_every_token_once(length, batch, bptt, random):
    windows = training_windows(numbered(length), training(batch=batch, bptt=bptt, random_bptt=random), None)
    seen = [windows.next()]
    while not seen[-1].ends_epoch:
        seen.append(windows.next())
    assert sorted(counted(seen)) == list(range(length // batch * batch))
    assert sum(window.batch.tokens for window in seen) == windows.tokens_per_epoch
    assert random or len(seen) == windows.windows_per_epoch


@settings(max_examples=100, deadline=None)
@given(
    length=st.integers(1, 400),
    streams=st.integers(1, 9),
    window=st.integers(1, 50),
    pieces=st.none() | st.integers(1, 60),
)
def test_evaluation_reads_every_token_once_after_its_predecessor(length, streams, window, pieces):
    windows = list(evaluation_windows(numbered(length), None, streams=streams, window=window, pieces=pieces))
    assert sorted(counted(windows)) == list(range(length))
    assert [w.ends_epoch for w in windows] == [False] * (len(windows) - 1) + [True]
    for one in windows:
        assert len(one.batch.targets) <= window
        mask = torch.ones_like(one.batch.targets, dtype=torch.bool) if one.batch.mask is None else one.batch.mask
        assert torch.equal(
            one.batch.inputs[mask], torch.where(one.batch.targets == 0, START, one.batch.targets - 1)[mask]
        )


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 300), streams=st.integers(1, 5), pieces=st.none() | st.integers(1, 60), data=st.data())
def test_evaluation_does_not_depend_on_the_window(length, streams, pieces, data):
    def columns(window: int) -> list[list[int]]:
        """Every column from a fresh state to the next: what a state passes over."""
        found: list[list[int]] = []
        open_columns: list[list[int]] = []
        for one in evaluation_windows(numbered(length), None, streams=streams, window=window, pieces=pieces):
            if one.fresh:
                open_columns = [[] for _ in range(one.batch.targets.shape[1])]
                found += open_columns
            for b, column in enumerate(open_columns):
                for t in range(one.batch.targets.shape[0]):
                    if one.batch.mask is None or one.batch.mask[t, b]:
                        column.append(int(one.batch.targets[t, b]))
        return found

    assert columns(data.draw(st.integers(1, 60))) == columns(1000)


def test_evaluation_pieces_begin_fresh_and_stand_side_by_side():
    windows = list(evaluation_windows(numbered(1000), 3, streams=1, window=6, pieces=10))
    assert windows[0].batch.targets.shape == (6, PIECES_TOGETHER)
    assert [window.fresh for window in windows] == [True, False, True, False]
    assert windows[0].batch.inputs[0, :2].tolist() == [3, 9]


def test_evaluation_masks_only_where_it_pads():
    windows = list(evaluation_windows(numbered(10), None, streams=3, window=2))
    assert [None if w.batch.mask is None else w.batch.mask.tolist() for w in windows] == [
        None,
        [[True, True, False], [True, True, False]],
    ]


def test_a_memory_map_is_read(tmp_path):
    np.save(tmp_path / "tokens.npy", numbered(50).astype(np.uint8))
    tokens = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    (window,) = evaluation_windows(tokens, None, streams=1, window=50)
    assert window.batch.targets.flatten().tolist() == list(range(50))
