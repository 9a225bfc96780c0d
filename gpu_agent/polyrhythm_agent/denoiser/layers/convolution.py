"""Convolutions and group normalisations over a patch of rows, with what they need of other rows through the exchange.

Owns the wrappers that take the place of ``Conv2d`` and ``GroupNorm`` modules inside a denoiser, and their arithmetic at
the rims of a patch. Must not know who holds other rows.

Shape letters as in the ports; G groups of a normalisation, M the pair (mean, variance), P parts of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from polyrhythm.ids import LayerId
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.operators.layers import OperatorConv2d
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry, Part

CORRECTED_SHARE_MIN = 0.5
"""Of the variance that the newest known moments have, what a corrected one keeps at least. Measured on the project's
UNet: plain displaced pictures of two and three patches stay within 0.1 dB of those without a bound, and those of three
with unequal strides come 0 to 13 dB nearer to the single device's. A quarter does nearly the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStep:
    """One forward over a patch, as the layers inside see it.

    Attributes:
        geometry: of the picture.
        rows: of the patch.
        step: of the fine grid.
        exchange: other rows.
        states_BCHW: x and x0 of the patch, ``(1, 2 C, own latent rows, W)``, state dtype.
        carry: brings x and x0 at an earlier step, stacked like ``states_BCHW``, to x at this step.
    """

    geometry: Geometry
    rows: RowRange
    step: int
    exchange: ActivationExchange
    states_BCHW: Tensor
    carry: Callable[[Tensor, int], Tensor]


class PatchSlot:
    """Where the layers of one denoiser find the forward that runs; empty between forwards. One thread."""

    def __init__(self) -> None:
        self._now: PatchStep | None = None
        self.probe: Callable[[PatchConv2d | PatchGroupNorm, Tensor], None] | None = None
        """Told of every layer that comes to the slot while there is no forward over a patch."""

    @property
    def now(self) -> PatchStep:
        """The forward that runs."""
        assert self._now is not None, "a patch layer runs outside of a forward"
        return self._now

    def come(self, layer: PatchConv2d | PatchGroupNorm, hidden: Tensor) -> PatchStep | None:
        """The forward that runs; None during a probe, which a layer then runs through as if it were not patched."""
        if self.probe is None:
            return self.now
        self.probe(layer, hidden)
        return None

    def enter(self, step: PatchStep) -> None:
        """A forward begins."""
        self._now = step

    def leave(self) -> None:
        """It has ended; nothing of it is held."""
        self._now = None


class PatchConv2d(nn.Module):
    """A convolution whose rows above and below come from the neighbours; zeros where the picture ends.

    Offsets of patches are multiples of every stride, so the outputs of a patch need ``padding`` rows above it and
    ``kernel - stride - padding`` below (with stride 2: none).

    Args:
        layer: its identity.
        conv: whose place it takes.
        slot: where it finds the forward that runs.
    """

    def __init__(self, layer: LayerId, conv: OperatorConv2d, slot: PatchSlot) -> None:
        super().__init__()
        self.layer = layer
        self.conv = conv
        self.rows_above = int(conv.padding[0])
        self.rows_below = max(0, conv.kernel_size[0] - conv.stride[0] - self.rows_above)
        self._slot = slot

    def forward(self, hidden_BCHW: Tensor) -> Tensor:
        """As the convolution of the whole picture, cut at the own rows."""
        now = self._slot.come(self, hidden_BCHW)
        if now is None:
            return self.conv(hidden_BCHW)
        above, below = now.exchange.halo(self.layer, hidden_BCHW)
        rims = [part and part.tensor for part in (above, below)]
        return self._convolve(hidden_BCHW, rims[0], rims[1], now)

    def _convolve(self, own_BCHW: Tensor, above: Tensor | None, below: Tensor | None, now: PatchStep) -> Tensor:
        pieces = [own_BCHW]
        if self.rows_above:
            pieces.insert(0, _zero_rows(own_BCHW, self.rows_above) if above is None else above)
        if below is not None:
            pieces.append(below)
        elif now.rows.end == now.geometry.row_count and self.rows_above:
            pieces.append(_zero_rows(own_BCHW, self.rows_above))  # the padding is the same at both ends
        padded_BCHW = torch.cat(pieces, dim=2) if len(pieces) > 1 else own_BCHW
        return self.conv.convolved(padded_BCHW, (0, int(self.conv.padding[1])))


class FirstPatchConv2d(PatchConv2d):
    """The convolution over the latent itself: rims come with the noise level of the neighbour's last step.

    A neighbour sends x and its last x0, from which the rim is brought to the own noise level: all batch elements see
    the same latent, so one is sent.
    """

    def forward(self, hidden_BCHW: Tensor) -> Tensor:
        """As ``PatchConv2d``."""
        now = self._slot.come(self, hidden_BCHW)
        if now is None:
            return self.conv(hidden_BCHW)
        parts = now.exchange.halo(self.layer, now.states_BCHW)
        above, below = (self._rim(part, hidden_BCHW, now) for part in parts)
        return self._convolve(hidden_BCHW, above, below, now)

    def _rim(self, part: Part | None, own_BCHW: Tensor, now: PatchStep) -> Tensor | None:
        if part is None:
            return None
        x_1CHW = now.carry(part.tensor, part.step)
        return x_1CHW.to(own_BCHW.dtype).expand(own_BCHW.shape[0], -1, -1, -1)


class PatchGroupNorm(nn.Module):
    """A group normalisation over all rows of the picture.

    In a synchronous step the moments of all patches are merged exactly (Chan et al. 1979, in the form of means and
    variances). In a displaced one the moments of the step before are merged and moved by as much as the own ones have
    moved since (DistriFusion's corrected asynchronous normalisation), but for a variance that this leaves too small.
    Arguments as for a convolution.
    """

    def __init__(self, layer: LayerId, norm: nn.GroupNorm, slot: PatchSlot) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm
        self._slot = slot

    def forward(self, hidden_BCHW: Tensor) -> Tensor:
        """Normalises the own rows by the moments of the whole picture."""
        norm = self.norm
        now = self._slot.come(self, hidden_BCHW)
        if now is None or now.exchange.whole:
            return norm(hidden_BCHW)
        own_MBG = moments(hidden_BCHW, norm.num_groups)
        parts = now.exchange.collect(self.layer, own_MBG)
        if not parts:
            return norm(hidden_BCHW)
        layer = now.geometry.layers[self.layer]
        if all(part.step == now.step for part in parts):
            own = Part(rows=now.rows, step=now.step, tensor=own_MBG)
            mean_BG, variance_BG = merged_moments((own, *parts), layer, now.geometry)
        else:
            mean_BG, variance_BG = corrected_moments(own_MBG, now.rows, parts, layer, now.geometry)
        return _normalised(hidden_BCHW, norm, mean_BG, variance_BG)


def moments(hidden_BCHW: Tensor, groups: int) -> Tensor:
    """Mean and biased variance of each group, ``(2, B, G)``, in fp32 at least.

    Two passes: E[x^2] - E[x]^2 loses all digits where the mean is far above the spread.
    """
    wide = torch.float64 if hidden_BCHW.dtype is torch.float64 else torch.float32
    values_BGN = hidden_BCHW.to(wide).reshape(hidden_BCHW.shape[0], groups, -1)
    variance_BG, mean_BG = torch.var_mean(values_BGN, dim=2, correction=0)
    return torch.stack((mean_BG, variance_BG))


def merged_moments(parts: Sequence[Part], layer: ExchangedLayer, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Mean and variance of the whole picture from those of its parts, ``(B, G)`` each in fp64 (Chan et al. 1979)."""
    cells_P = [geometry.cell_slice(layer, part.rows) for part in parts]
    heights_P = [cells.stop - cells.start for cells in cells_P]
    moments_PMBG = torch.stack([part.tensor.double() for part in parts])
    share_P11 = torch.tensor(heights_P, dtype=torch.float64, device=moments_PMBG.device)[:, None, None] / sum(heights_P)
    mean_PBG, variance_PBG = moments_PMBG[:, 0], moments_PMBG[:, 1]
    mean_BG = (share_P11 * mean_PBG).sum(dim=0)
    return mean_BG, (share_P11 * (variance_PBG + (mean_PBG - mean_BG) ** 2)).sum(dim=0)


def corrected_moments(
    own_MBG: Tensor, rows: RowRange, parts: Sequence[Part], layer: ExchangedLayer, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the whole picture as of this step, from all parts of the step before and the own rows now.

    What the own rows have changed by, few of many perhaps, is taken for the change of all, and can leave a variance
    near zero or below it, by which everything is divided. It never falls below a share of what the parts have together
    where the own one is of now and the others as they were: all of them were true, so that is never negative.

    Args:
        own_MBG: of the own rows now.
        rows: of the patch.
        parts: of all rows, as they were published before; the own ones among them.
        layer: whose cells weigh the parts.
        geometry: of the picture.
    """
    (before,) = (part.tensor.double() for part in parts if part.rows == rows)
    own_mean_BG, own_variance_BG = own_MBG.double()
    stale_mean_BG, stale_variance_BG = merged_moments(parts, layer, geometry)
    mean_BG = stale_mean_BG + own_mean_BG - before[0]
    stale_square_BG = stale_variance_BG + stale_mean_BG**2
    own_square_BG, before_square_BG = own_variance_BG + own_mean_BG**2, before[1] + before[0] ** 2
    variance_BG = stale_square_BG + own_square_BG - before_square_BG - mean_BG**2
    latest = [replace(part, tensor=own_MBG) if part.rows == rows else part for part in parts]
    _, latest_variance_BG = merged_moments(latest, layer, geometry)
    return mean_BG, torch.maximum(variance_BG, CORRECTED_SHARE_MIN * latest_variance_BG)


def _normalised(hidden_BCHW: Tensor, norm: nn.GroupNorm, mean_BG: Tensor, variance_BG: Tensor) -> Tensor:
    """One multiplication and one addition a value: normalisation and affine map folded into each channel's own."""
    batch, channels = hidden_BCHW.shape[:2]
    scale_BG = torch.rsqrt(variance_BG + norm.eps)
    per_group = channels // norm.num_groups
    scale_BC, mean_BC = (value.repeat_interleave(per_group, dim=1) for value in (scale_BG, mean_BG))
    if norm.affine:
        scale_BC = scale_BC * norm.weight.double()
    shift_BC = -mean_BC * scale_BC + (norm.bias.double() if norm.affine else 0.0)
    wide = torch.float64 if hidden_BCHW.dtype is torch.float64 else torch.float32
    scale_BC11, shift_BC11 = (value.to(wide).view(batch, channels, 1, 1) for value in (scale_BC, shift_BC))
    return (hidden_BCHW.to(wide) * scale_BC11 + shift_BC11).to(hidden_BCHW.dtype)


def _zero_rows(like_BCHW: Tensor, rows: int) -> Tensor:
    batch, channels, _, columns = like_BCHW.shape
    return like_BCHW.new_zeros((batch, channels, rows, columns))
