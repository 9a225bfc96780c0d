"""The optimizers of the demo models' denoisers: Muon for what is a matrix by nature, AdamW for the rest.

Owns nothing but their set-up.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Muon


class KernelMuon(Muon):
    """Muon (Jordan et al. 2024) that takes a convolution's kernel for the matrix ``[out, in * height * width]``.

    Torch's Muon refuses anything but matrices. So it is given views of the kernels, whose memory they share.
    """

    def __init__(self, weights: list[nn.Parameter], peak_rate: float) -> None:
        """Take ``weights`` of two or more dimensions, contiguous in memory."""
        self._weights = weights
        self._matrices = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in weights]
        super().__init__(self._matrices, lr=peak_rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the weights."""
        super().zero_grad(set_to_none)
        for weight in self._weights:
            weight.grad = None

    def step(self, closure: None = None) -> None:
        """Move the weights along their gradients."""
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)
        super().step(closure)


def new_optimizers(denoiser: nn.Module, muon_weights: list[nn.Parameter], peak_rate: float) -> dict[str, Any]:
    """Muon for ``muon_weights`` of ``denoiser``, AdamW for everything else."""
    chosen = {id(p) for p in muon_weights}
    others = [p for p in denoiser.parameters() if id(p) not in chosen]
    return {
        "muon": KernelMuon(muon_weights, peak_rate),
        "adamw": AdamW(others, lr=peak_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
    }
