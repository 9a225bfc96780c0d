"""All that a model family of another package needs; docs/adding-a-model.md walks through one.

Everything else of this package may change from version to version.
"""

from __future__ import annotations

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import LayerId
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.request_checks import check_image
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts, ModelMemory
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.families.token_parts import PromptNeeds, TokenFamily, TokenParts
from polyrhythm_agent.denoiser.families.token_run import TokenForward, TokenRun
from polyrhythm_agent.denoiser.families.token_transformer import TokenDenoiser
from polyrhythm_agent.denoiser.files.diffusers_parts import (
    load_denoiser_part,
    load_part,
    part_on_demand,
    text_encoder_on_demand,
)
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.guided_run import GuidedRun, batch_of, state_dtype_of
from polyrhythm_agent.denoiser.layers.attention import PatchContext, project_text, set_patch_processors
from polyrhythm_agent.denoiser.operators.install import install_operators
from polyrhythm_agent.denoiser.operators.layers import OperatorAttention
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from polyrhythm_agent.denoiser.text.class_labels import ClassLabels
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.blocks import EMBED, HEAD, BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser, DenoiserRun, LongText, PartOnDemand, ReadsLongTexts
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry, Part
from polyrhythm_agent.ports.operators import Operators

__all__ = [
    "EMBED",
    "HEAD",
    "ActivationExchange",
    "BlockObserver",
    "ClassLabels",
    "Denoiser",
    "DenoiserRun",
    "ExchangedLayer",
    "Geometry",
    "GuidedRun",
    "ImageSpec",
    "InvalidArgumentError",
    "LayerGroup",
    "LayerId",
    "LayerKind",
    "LongPrompt",
    "LongText",
    "ModelFacts",
    "ModelFolder",
    "ModelFolderError",
    "ModelMemory",
    "ModelSampling",
    "OperatorAttention",
    "Operators",
    "Part",
    "PartOnDemand",
    "PatchContext",
    "PromptNeeds",
    "ReadsLongTexts",
    "RowRange",
    "Sampler",
    "TokenDenoiser",
    "TokenFamily",
    "TokenForward",
    "TokenParts",
    "TokenRun",
    "batch_of",
    "check_image",
    "install_operators",
    "load_denoiser_part",
    "load_part",
    "part_on_demand",
    "project_text",
    "scheduler_config",
    "set_patch_processors",
    "state_dtype_of",
    "text_encoder_on_demand",
]
