"""Recurrent layers, their attention and their dropout against loops written from the equations."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from yanmo.nn.attention import record
from yanmo.nn.recurrent import Carried, GlobalAttention, Recurrent, RowDropout, begin_cell

TOLERANCE = 1e-5
# Rows of one length, of like lengths (a rectangle, unless last states are wanted), of very unlike ones (never a rectangle).
LENGTHS = {"equal": (5, 5, 5), "like": (6, 4, 6, 5), "unlike": (1, 13, 2, 1, 3)}


def naive(cell: nn.LSTM | nn.GRU, row: Tensor) -> Tensor:
    """One direction over one row (n, inputs), step by step from the equations: (n, width)."""
    w_x, w_h, b_x, b_h = (cell.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h = c = torch.zeros(cell.hidden_size)
    found = []
    for x in row:
        from_x, from_h = w_x @ x + b_x, w_h @ h + b_h
        if isinstance(cell, nn.LSTM):
            enter, forget, new, leave = (from_x + from_h).chunk(4)
            c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
            h = leave.sigmoid() * c.tanh()
        else:
            (reset_x, update_x, new_x), (reset_h, update_h, new_h) = from_x.chunk(3), from_h.chunk(3)
            update = (update_x + update_h).sigmoid()
            h = (1 - update) * (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh() + update * h
        found.append(h)
    return torch.stack(found)


def made(cell: str, *, bidirectional: bool = False, layers: int = 2) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(cell, 7, 10, layers, bidirectional=bidirectional)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("cell", "bidirectional"), itertools.product(("lstm", "gru"), (False, True)))
def test_equations(cell: str, bidirectional: bool, lengths: tuple[int, ...]) -> None:
    module = made(cell, bidirectional=bidirectional)
    x = torch.randn(sum(lengths), 7, requires_grad=True)
    rows = []
    for row in x.split(lengths):
        for layer in module.layers:
            parts = [naive(layer[0], row)] + [naive(back, row.flip(0)).flip(0) for back in layer[1:]]
            row = torch.cat(parts, -1)
        rows.append(row)
    expected, found = torch.cat(rows), module(x, lengths)
    assert (found - expected).abs().max() < TOLERANCE
    weights = torch.randn_like(found)
    ours, theirs = ([*torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])] for y in (found, expected))
    assert max((a - b).abs().max() for a, b in zip(ours, theirs, strict=True)) < TOLERANCE


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("kind", "bidirectional"), itertools.product((nn.LSTM, nn.GRU), (False, True)))
def test_equal_to_torch_with_all_layers_in_one(kind: type, bidirectional: bool, lengths: tuple[int, ...]) -> None:
    module = made(kind.__name__.lower(), bidirectional=bidirectional)
    whole = kind(7, 5 if bidirectional else 10, 2, bidirectional=bidirectional, batch_first=True)
    for number, layer in enumerate(module.layers):
        for cell, suffix in zip(layer, ("", "_reverse"), strict=False):
            for name, parameter in cell.named_parameters():
                getattr(whole, name.replace("l0", f"l{number}") + suffix).data = parameter.data
    x = torch.randn(sum(lengths), 7)
    expected = torch.cat([whole(row[None])[0][0] for row in x.split(lengths)])
    assert (module(x, lengths) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_pieces(cell: str) -> None:
    """Rows in pieces of any length, none too, and the last states that each call leaves."""
    module = made(cell)
    rows = [torch.randn(n, 7) for n in (9, 4, 1)]
    carried, found, at = Carried(2), [[], [], []], [0, 0, 0]
    with torch.no_grad():
        for sizes in ((2, 0, 0), (1, 1, 1), (3, 3, 0), (3, 0, 0)):
            pieces = [row[a : a + n] for row, a, n in zip(rows, at, sizes, strict=True)]
            carried.begin(sizes)
            for part, new in zip(found, module(torch.cat(pieces), sizes, carried).split(sizes), strict=True):
                part.append(new)
            at = [a + n for a, n in zip(at, sizes, strict=True)]
        for part, row in zip(found, rows, strict=True):
            assert (torch.cat(part) - module(row, (len(row),))).abs().max() < TOLERANCE
    assert carried.lengths == (9, 4, 1) and carried.length == 9
    last = torch.stack([torch.cat(part)[-1] for part in found])
    assert torch.equal(carried.layers[1][0], last)
    with pytest.raises(ValueError, match="2 rows, but 3"):
        carried.begin((1, 1))


def test_an_empty_state_can_be_joined() -> None:
    module, x = made("gru"), torch.randn(3, 7)
    carried = Carried(2)
    carried.begin((2, 1))
    module(x, (2, 1), carried)
    for both in (Carried(2).join(carried), carried.join(Carried(2))):
        assert both.lengths == (2, 1) and torch.equal(both.layers[1][0], carried.layers[1][0])


def test_row_dropout() -> None:
    """One mask a row for all of its steps, another for each row; right in expectation; nothing outside training."""
    torch.manual_seed(0)
    module, row_of = RowDropout(0.3), torch.tensor([0, 0, 0, 1, 2, 2])
    x = torch.ones(6, 2000)
    found = module(x, row_of, 3)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2]) and torch.equal(found[4], found[5])
    assert not torch.equal(found[0], found[3]) and not torch.equal(found[3], found[4])
    assert set(found.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    # 3 masks of 2,000: the deviation of the mean is sqrt(0.3 / 0.7 / 6000)
    assert abs(found[[0, 3, 4]].mean().item() - 1) < 4 * math.sqrt(0.3 / 0.7 / 6000)
    assert module.eval()(x, row_of, 3) is x


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_dropout_of_outputs_is_the_same_at_all_steps(lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = Recurrent("lstm", 7, 10, 1, output_dropout=0.5)
    found = module(torch.randn(sum(lengths), 7), lengths)
    dropped = [(row == 0) for row in found.split(lengths)]
    assert all(torch.equal(row, row[:1].expand_as(row)) for row in dropped)
    assert len({tuple(row[0].tolist()) for row in dropped}) > 1


@pytest.mark.parametrize("place", ["input_dropout", "hidden_dropout", "output_dropout"])
def test_dropout_in_training_only(place: str) -> None:
    torch.manual_seed(0)
    module = Recurrent("gru", 7, 10, 2, **{place: 0.5})
    x, lengths = torch.randn(9, 7), (4, 5)
    plain = Recurrent("gru", 7, 10, 2)
    plain.load_state_dict(module.state_dict())
    assert not torch.equal(module(x, lengths), plain(x, lengths))
    assert torch.equal(module.eval()(x, lengths), plain(x, lengths))


@pytest.mark.parametrize("lengths", [(3, 1, 4), (2, 2, 2), (1, 1, 1)])
def test_attention(lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, sources = GlobalAttention(6), (5, 2, 7)
    hidden, states = torch.randn(sum(lengths), 6), torch.randn(sum(sources), 6)
    expected, shares = [], []
    for own, memory in zip(hidden.split(lengths), states.split(sources), strict=True):
        for h in own:
            share = torch.stack([h @ module.key.weight @ s for s in memory]).softmax(0)
            context = sum(a * s for a, s in zip(share, memory, strict=True))
            expected.append((module.mix.weight @ torch.cat([context, h])).tanh())
            shares.append(share)
    with record() as seen:
        found = module(hidden, lengths, module.remember(states, sources))
    assert (found - torch.stack(expected)).abs().max() < TOLERANCE
    assert (module(hidden, lengths, module.remember(states, sources)) - found).abs().max() < TOLERANCE
    assert (seen[0][0][0, 0, 0, :5] - shares[0]).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_cell_begins(kind: type) -> None:
    cell = kind(12, 8)
    begin_cell(cell)
    for gate in cell.weight_hh_l0.split(8):
        assert (gate @ gate.t() - torch.eye(8)).abs().max() < TOLERANCE
    for gate in cell.weight_ih_l0.split(8):
        assert 0.5 * math.sqrt(6 / 20) < gate.abs().max() <= math.sqrt(6 / 20)
    forget = [0.0] * 8 + [1.0] * 8 + [0.0] * 16 if kind is nn.LSTM else [0.0] * 24
    assert cell.bias_ih_l0.tolist() == forget and not cell.bias_hh_l0.any()
