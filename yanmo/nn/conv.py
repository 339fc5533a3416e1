"""Convolutions over packed rows: nothing flows between rows. Shapes: t tokens of all rows packed end to end, b rows."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn.feedforward import ACTIVATIONS
from yanmo.nn.linear import Linear
from yanmo.nn.recurrent import Carried

Past = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # `after`, of one layer of a call: (x, reach)


def apart(x: Tensor, row_of: Tensor, gap: int) -> tuple[Tensor, Tensor]:
    """Rows moved apart, `gap` zeros before each and after the last, so that a window never sees another row; and (t,) where the tokens
    stand then."""
    place = torch.arange(len(x), device=x.device) + gap * (row_of + 1)
    return x.new_zeros(int(place[-1]) + 1 + gap, x.shape[1]).index_copy(0, place, x), place


def after(carried: Carried, layer: int, lengths: Sequence[int], x: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Each row's new tokens (t, width) after the last `reach` of earlier calls, which are zeros at first: all rows one after the other,
    and (t,) where the new tokens stand then. The last `reach` of now are left in `carried`."""
    kept = carried.layers[layer][0] if carried.layers[layer] else x.new_zeros(len(lengths), reach, x.shape[1])
    sizes = torch.tensor(lengths, device=x.device)
    row_of = torch.repeat_interleave(torch.arange(len(sizes), device=x.device), sizes)
    place = torch.arange(len(x), device=x.device) + reach * (row_of + 1)
    last = torch.cumsum(sizes + reach, 0)[:, None] - torch.arange(reach, 0, -1, device=x.device)
    both = x.new_empty(len(x) + kept.shape[0] * reach, x.shape[1]).index_copy(0, place, x)
    both = both.index_copy(0, (last - sizes[:, None]).flatten(), kept.flatten(0, 1))
    carried.layers[layer] = (both[last],)
    return both, place


class NeighbourConv(nn.Module):
    """Every channel mixes a token with its neighbours (a depthwise convolution), then norm, activation and one linear layer:
    (t, width) packed rows -> (t, width)."""

    def __init__(self, width: int, kernel: int, activation: str, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, width))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.output = Linear(width, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, *, row_of: Tensor) -> Tensor:
        reach = len(self.weight) // 2
        spread, place = apart(x, row_of, reach)
        mixed = sum(
            (spread[j : len(spread) - 2 * reach + j] * weight for j, weight in enumerate(self.weight)), x.new_zeros(())
        )
        result: Tensor = self.output(self.activation(self.norm(mixed[place - reach])))
        return result


class WindowConv(nn.Module):
    """Windows of several sizes round each token, `maps` features of each, side by side: relu(W window + b), Kim 2014, equation 2;
    (t, inputs) -> (t, sizes * maps). Zeros stand beyond the ends of a row; an even window reaches one further to the right."""

    def __init__(self, inputs: int, maps: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(inputs, maps, size) for size in sizes)
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor, *, row_of: Tensor) -> Tensor:
        spread, place = apart(x, row_of, max(self.sizes) // 2)
        line = spread.t()[None]
        mixed = [
            conv(line)[0].t().index_select(0, place - (size - 1) // 2)
            for conv, size in zip(self.convs, self.sizes, strict=True)
        ]
        return torch.cat(mixed, -1).relu()


class GatedConv(nn.Module):
    """A token and those before it, `dilation` apart: (W x + b) * sigmoid(V x + c); (t, width) -> (t, width). Zeros stand before a row.
    The gate is that of Dauphin et al. 2017, equation 1; dilation: van den Oord et al. 2016 (WaveNet), section 2.1."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * width, kernel, dilation=dilation)
        self.reach = (kernel - 1) * dilation  # tokens that it sees before the one at hand

    def forward(self, x: Tensor, *, row_of: Tensor, past: Past | None = None) -> Tensor:
        if past is None:
            spread, place = apart(x, row_of, self.reach)
            mixed = self.conv(spread.t()[None])[0].t().index_select(0, place - self.reach)
        else:  # few tokens after many: only their own windows
            both, place = past(x, self.reach)
            (kernel,), (dilation,) = self.conv.kernel_size, self.conv.dilation
            windows = both[place[:, None] - dilation * torch.arange(kernel - 1, -1, -1, device=x.device)]
            mixed = F.conv1d(windows.transpose(1, 2), self.conv.weight, self.conv.bias)[..., 0]
        return F.glu(mixed, -1)
