"""From single runs to the rows of the table. Pure: owns which numbers are reported and how each is made of the runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from latency_study.pairs import SpeedPair
from latency_study.pictures import PictureQuality, Pixels
from latency_study.statistics import Spread, paired_ratio, prediction_error, utilisation
from latency_study.variants import PlannedVariant, Variant, describe
from polyrhythm.ids import AgentId
from polyrhythm.reports import JobReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One picture of a latency round. Measured, but for the prediction of the fleet that ran it.

    Attributes:
        variant: whose plan.
        round_index: from 0; the warm-up round is not kept.
        denoise_s: wall seconds of all steps.
        encode_s: seconds to encode.
        decode_s: seconds to decode.
        fleet_predicted_s: what the running fleet predicted from its own fresh profile; for comparison only.
        busy_s: of each device that took part.
        wait_s: the same for waiting.
        sent_bytes: the same for bytes.
        core_wait_s: seconds in which compute threads could have run but something else had their core, all devices
            together, encoding and decoding included.
        discarded: what was wrong with earlier attempts at this run, which followed another plan and do not count.
        pixels_sha256: of the picture.
    """

    variant: Variant
    round_index: int
    denoise_s: float
    encode_s: float
    decode_s: float
    fleet_predicted_s: float
    busy_s: dict[AgentId, float]
    wait_s: dict[AgentId, float]
    sent_bytes: dict[AgentId, int]
    core_wait_s: float
    discarded: tuple[str, ...]
    pixels_sha256: str


def run_of(
    variant: Variant,
    round_index: int,
    report: JobReport,
    pixels_HW3: Pixels,
    *,
    core_wait_s: float,
    discarded: tuple[str, ...],
) -> Run:
    """Takes the numbers of one job."""
    return Run(
        variant=variant,
        round_index=round_index,
        denoise_s=report.denoise_s,
        encode_s=report.encode_s,
        decode_s=report.decode_s,
        fleet_predicted_s=report.predicted_denoise_s,
        busy_s={usage.agent: usage.busy_s for usage in report.agents},
        wait_s={usage.agent: usage.wait_s for usage in report.agents},
        sent_bytes={usage.agent: usage.sent_bytes for usage in report.agents},
        core_wait_s=core_wait_s,
        discarded=discarded,
        pixels_sha256=sha256_of(pixels_HW3),
    )


def sha256_of(pixels_HW3: Pixels) -> str:
    """Of a picture's pixels."""
    return hashlib.sha256(pixels_HW3.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant at one speed pair.

    Attributes:
        pair: name of the speed pair.
        slow_speed: of its second device.
        drawn: whether a seed chose the pair.
        variant: whose plan.
        plan: in one line.
        steps: fine steps of the picture.
        predicted_s: denoising, from the profile of an earlier fleet.
        prediction_error: signed, relative to the measured median.
        denoise_s: measured.
        to_equal: ratio of medians to equal patches.
        to_equal_paired: ratio within each round.
        to_solo: ratio of medians to the fastest device alone.
        to_solo_paired: ratio within each round.
        utilisation: share of both devices' time spent computing.
        wait_s: median seconds blocked, a device each.
        core_wait_s: median seconds without a core though runnable, all devices together.
        sent_bytes: of all devices together.
        bytes_as_predicted: whether every run sent exactly what the plan says.
        ideal_to_equal: ``to_equal`` if rows cost in proportion and messages nothing.
        ideal_to_solo: the same for ``to_solo``.
    """

    pair: str
    slow_speed: float
    drawn: bool
    variant: Variant
    plan: str
    steps: int
    predicted_s: float
    prediction_error: float
    denoise_s: Spread
    to_equal: float
    to_equal_paired: Spread
    to_solo: float
    to_solo_paired: Spread
    utilisation: Spread
    wait_s: tuple[float, ...]
    core_wait_s: float
    sent_bytes: int
    bytes_as_predicted: bool
    ideal_to_equal: float
    ideal_to_solo: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One plan's pictures against the single device's.

    Attributes:
        pair: name of the speed pair for which the plan was made.
        variant: whose plan.
        quality: the distances.
    """

    pair: str
    variant: Variant
    quality: PictureQuality


def summarise(
    pair: SpeedPair,
    planned: Mapping[Variant, PlannedVariant],
    runs: Sequence[Run],
    ideal_s: Mapping[Variant, float],
) -> tuple[Row, ...]:
    """Rows of one speed pair, a variant each.

    Args:
        pair: the devices.
        planned: plans and predictions, made before the runs.
        runs: every variant once a round.
        ideal_s: see ``variants.ideal``.
    """
    by_variant = {
        variant: sorted((run for run in runs if run.variant is variant), key=lambda run: run.round_index)
        for variant in Variant
    }
    walls_s = {variant: [run.denoise_s for run in ran] for variant, ran in by_variant.items()}
    return tuple(_row(pair, planned[variant], by_variant[variant], walls_s, ideal_s) for variant in Variant)


def _row(
    pair: SpeedPair,
    planned: PlannedVariant,
    runs: Sequence[Run],
    walls_s: Mapping[Variant, Sequence[float]],
    ideal_s: Mapping[Variant, float],
) -> Row:
    variant, own_s = planned.variant, walls_s[planned.variant]
    equal_s, solo_s = walls_s[Variant.EQUAL], walls_s[Variant.SOLO]
    predicted_bytes = {share.agent: share.sent_bytes for share in planned.prediction.agents}
    return Row(
        pair=pair.name,
        slow_speed=pair.slow_speed,
        drawn=pair.drawn,
        variant=variant,
        plan=describe(planned.plan),
        steps=planned.plan.steps,
        predicted_s=planned.prediction.denoise_s,
        prediction_error=prediction_error(planned.prediction.denoise_s, median(own_s)),
        denoise_s=Spread.of(own_s),
        to_equal=median(own_s) / median(equal_s),
        to_equal_paired=paired_ratio(own_s, equal_s),
        to_solo=median(own_s) / median(solo_s),
        to_solo_paired=paired_ratio(own_s, solo_s),
        utilisation=Spread.of(
            [utilisation(list(run.busy_s.values()), run.denoise_s, len(pair.speeds)) for run in runs]
        ),
        wait_s=tuple(median(run.wait_s[agent] for run in runs) for agent in planned.plan.agents),
        core_wait_s=median(run.core_wait_s for run in runs),
        sent_bytes=sum(runs[0].sent_bytes.values()),
        bytes_as_predicted=all(run.sent_bytes == predicted_bytes for run in runs),
        ideal_to_equal=ideal_s[variant] / ideal_s[Variant.EQUAL],
        ideal_to_solo=ideal_s[variant] / ideal_s[Variant.SOLO],
    )


def row_from_json(data: Mapping[str, Any]) -> Row:
    """A row as a result file holds it."""
    spreads = {"denoise_s", "to_equal_paired", "to_solo_paired", "utilisation"}
    values: dict[str, Any] = {key: Spread(**value) if key in spreads else value for key, value in data.items()}
    values["variant"] = Variant(data["variant"])
    values["wait_s"] = tuple(data["wait_s"])
    return Row(**values)


def quality_from_json(data: Mapping[str, Any]) -> QualityRow:
    """A quality row as a result file holds it."""
    return QualityRow(pair=data["pair"], variant=Variant(data["variant"]), quality=PictureQuality(**data["quality"]))
