"""Parts of a pipeline that are loaded when they are first used, and can be let go again.

Owns the outline of such a part: its config and the sizes of its weights, known without any of them. Which part is
needed when is not decided here. While one is loaded, the libraries change the default dtype of the whole process:
nothing else may compute meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import nn

from polyrhythm.model.facts import ModelPart

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class OnDemand(Generic[ModuleT]):
    """One module of a pipeline. ``held`` and ``size_bytes`` from any thread, the rest on one.

    Args:
        part: what it belongs to.
        outline: the module without memory (on the ``meta`` device), in the arithmetic that it will be loaded in.
        read: loads the module, onto its device.
    """

    def __init__(self, *, part: ModelPart, outline: ModuleT, read: Callable[[], ModuleT]) -> None:
        self.part = part
        self.outline = outline
        self.size_bytes = module_bytes(outline)
        self._read = read
        self._module: ModuleT | None = None

    @property
    def held(self) -> bool:
        """Whether it is in memory now."""
        return self._module is not None

    def load(self) -> None:
        """Brings it into memory, if it is not there.

        Raises:
            ModelFolderError: its files do not fit its config, or have gone.
        """
        self.module()

    def module(self) -> ModuleT:
        """The module itself, loaded now if it is not there.

        Raises:
            ModelFolderError: its files do not fit its config, or have gone.
        """
        if self._module is None:
            with torch.inference_mode(mode=False):  # else its weights could never be used outside of it
                self._module = self._read()
        return self._module

    def release(self) -> None:
        """Lets it go."""
        self._module = None


def module_bytes(*modules: nn.Module) -> int:
    """Bytes of all parameters and buffers, whether they are in memory or an outline's."""
    return sum(tensor.nbytes for module in modules for tensor in (*module.parameters(), *module.buffers()))


def outline_of(build: Callable[[], ModuleT], dtype: torch.dtype) -> ModuleT:
    """A module without memory.

    Args:
        build: makes it from its config.
        dtype: arithmetic that it will be loaded in. In fp16 some encoders keep some layers in fp32; they name them.
    """
    with torch.device("meta"):
        outline = build()
    nn.Module.to(outline, dtype)  # that of diffusers warns of layers that it would keep in fp32, if there were any
    kept: object = getattr(outline, "_keep_in_fp32_modules", None)
    if dtype is torch.float16 and isinstance(kept, list | tuple | set | frozenset):
        names = {str(name) for name in kept}
        for path, module in outline.named_modules():
            if path.rpartition(".")[2] in names:
                module.float()
    return outline
