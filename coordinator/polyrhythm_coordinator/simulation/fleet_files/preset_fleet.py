"""Fleets from presets: cards by their data sheets, models by their architectures. Assumed, never measured, and told so.

Seconds are operations over a share of a card's peak. The share is one guess for all, so that figures compare cards and
models; what a card really takes, `polyrhythm simulate --fit` learns from a run. The arithmetic is one for all as well.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AGENTS_MAX
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.profile import Link, Workload
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, DeviceOrigin, FleetDescription

PEAK_SHARE = 0.5
"""Of a card's peak that a denoiser is assumed to reach."""
FIXED_SHARE = 0.05
"""Of a forward of the whole picture of the model's own size, that is assumed not to depend on the rows."""
LATENCY_S = 0.3e-3
WIRE_BYTES_PER_S = 2e9
"""Of Gloo over loopback or a good network, which every message takes beside the two slots."""
GUIDED_BATCH = 2
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as its data sheet describes it.

    Attributes:
        card: what a person calls it.
        tflops: peak of matrix products.
        memory_gib: of the card.
        pcie_bytes_per_s: of its slot, one direction.
        tensor_cores: whether it has any; else an agent on it chooses fp32 by itself.
    """

    card: str
    tflops: float
    memory_gib: int
    pcie_bytes_per_s: float
    tensor_cores: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Operations of a model at its own size.

    Attributes:
        forward_flops: of the denoiser, one batch element.
        decode_flops: of the autoencoder.
        encode_flops: of the text encoders, one text.
    """

    forward_flops: int
    decode_flops: int
    encode_flops: int


def cards() -> Mapping[str, Card]:
    """All known cards."""
    return TypeAdapter(dict[str, Card]).validate_python(_read("cards.toml"))


def preset_fleet(names: Sequence[str], model: str) -> FleetDescription:
    """A fleet of cards in slots of their own, all with the same model.

    Args:
        names: of cards; one may come several times.
        model: name of a model.

    Raises:
        InvalidArgumentError: a card or the model is not known, or there are more cards than a fleet has.
    """
    known, models = cards(), _read("models.toml")
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        told = f"unknown {', '.join(unknown)}" if unknown else "must name at least one"
        raise InvalidArgumentError.of("cards", f"{told}; known: {', '.join(known)}")
    if len(names) > AGENTS_MAX:
        raise InvalidArgumentError.of("cards", f"must name at most {AGENTS_MAX}, got {len(names)}")
    if model not in models:
        raise InvalidArgumentError.of("model-preset", f"{model!r} is not known; known: {', '.join(models)}")
    facts = TypeAdapter(ModelFacts).validate_python(models[model]["facts"])
    work = TypeAdapter(Work).validate_python(models[model]["work"])
    held = {AgentId(name): known[card] for name, card in zip(_unique(names), names, strict=True)}
    return FleetDescription(
        facts=facts,
        workload=Workload(
            model=facts.name, width_px=facts.default_width_px, height_px=facts.default_height_px, batch=GUIDED_BATCH
        ),
        devices=tuple(_device(agent, card, facts, work) for agent, card in held.items()),
        default_link=Link(latency_s=LATENCY_S, bytes_per_s=WIRE_BYTES_PER_S),
        links={
            (one, other): Link(latency_s=LATENCY_S, bytes_per_s=_bytes_per_s(held[one], held[other]))
            for one in held
            for other in held
            if one != other
        },
    )


def preset_notices(names: Sequence[str], dtype: str) -> tuple[str, ...]:
    """What the figures of a preset are, and what they leave out.

    Args:
        names: of cards that are known.
        dtype: arithmetic that is assumed of all of them.
    """
    known = cards()
    plain = dict.fromkeys(known[name].card for name in names if not known[name].tensor_cores)
    share = (
        f"preset, not measured: seconds are figures of data sheets, {PEAK_SHARE:.0%} of each card's peak. That share "
        "is a guess and the same for all: seconds are rough, ratios between cards are better"
    )
    arithmetic = f"every card is taken to compute in {dtype}"
    if plain:
        arithmetic += f"; agents on {', '.join(plain)} choose float32, with twice the weights, unless told"
    return share, arithmetic


def _device(agent: AgentId, card: Card, facts: ModelFacts, work: Work) -> DeviceDescription:
    flops_per_s = card.tflops * 1e12 * PEAK_SHARE
    forward_s = GUIDED_BATCH * work.forward_flops / flops_per_s
    return DeviceDescription(
        agent=agent,
        fixed_s=FIXED_SHARE * forward_s,
        per_row_s=(1 - FIXED_SHARE) * forward_s / facts.row_count(facts.default_height_px),
        encode_s=GUIDED_BATCH * work.encode_flops / flops_per_s,
        decode_s=work.decode_flops / flops_per_s,
        memory_bytes=card.memory_gib * GIB,
        origin=DeviceOrigin(card=card.card, dtype=facts.dtype),
    )


def _bytes_per_s(one: Card, other: Card) -> float:
    """Out of one slot, over the wire, into the other, one after another."""
    return 1 / (1 / one.pcie_bytes_per_s + 1 / WIRE_BYTES_PER_S + 1 / other.pcie_bytes_per_s)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names of agents: those of the cards, numbered where a card comes several times."""
    return tuple(
        name if names.count(name) == 1 else f"{name}-{names[:index].count(name)}" for index, name in enumerate(names)
    )


def _read(name: str) -> dict[str, Any]:
    presets = files("polyrhythm_coordinator.simulation") / "presets"
    return tomllib.loads((presets / name).read_text(encoding="utf-8"))
