"""From single runs to the rows of the table. Pure: owns which numbers are reported and how each is made of the runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from latency_study.cases import Case, Group
from latency_study.pictures import PictureQuality, Pixels
from latency_study.statistics import Spread, paired_ratio, prediction_error, utilisation
from latency_study.variants import PlannedVariant, Variant, describe
from polyrhythm.ids import AgentId
from polyrhythm.job.reports import JobReport
from polyrhythm_client.local.layout import agent_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTime:
    """What the kernel gave to a compute thread.

    Attributes:
        ran_s: seconds on a core.
        queued_s: seconds in which it could have run but something else had its core.
    """

    ran_s: float
    queued_s: float

    def since(self, earlier: CoreTime) -> CoreTime:
        """What has come on top."""
        return CoreTime(ran_s=self.ran_s - earlier.ran_s, queued_s=self.queued_s - earlier.queued_s)

    @property
    def share(self) -> float:
        """Seconds that it ran over seconds in which it was runnable; 1 where it had nothing to run."""
        runnable_s = self.ran_s + self.queued_s
        return self.ran_s / runnable_s if runnable_s > 0 else 1.0


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
        core_shares: of its core that each device's compute thread got while it was runnable, a device each.
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
    core_shares: tuple[float, ...]
    discarded: tuple[str, ...]
    pixels_sha256: str


def run_of(
    variant: Variant,
    round_index: int,
    report: JobReport,
    pixels_HW3: Pixels,
    *,
    core_times: tuple[CoreTime, ...],
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
        core_wait_s=sum(time.queued_s for time in core_times),
        core_shares=tuple(time.share for time in core_times),
        discarded=discarded,
        pixels_sha256=sha256_of(pixels_HW3),
    )


def sha256_of(pixels_HW3: Pixels) -> str:
    """Of a picture's pixels."""
    return hashlib.sha256(pixels_HW3.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant in one case.

    Attributes:
        case: its name.
        group: its kind.
        speeds: of its devices.
        load_share: of a device's core that a load takes; 0 without one.
        drawn: whether a seed chose the case.
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
        utilisation: share of all devices' time spent computing.
        member_utilisation: the same among the devices that take part, of the time that a load leaves them.
        wait_s: median seconds blocked, a device each.
        core_wait_s: median seconds without a core though runnable, all devices together.
        core_shares: median share of its core that each device got while it was runnable.
        sent_bytes: of all devices together.
        bytes_as_predicted: whether every run sent exactly what the plan says.
        ideal_to_equal: ``to_equal`` if rows cost in proportion and messages nothing.
        ideal_to_solo: the same for ``to_solo``.
    """

    case: str
    group: Group
    speeds: tuple[float, ...]
    load_share: float
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
    member_utilisation: Spread
    wait_s: tuple[float, ...]
    core_wait_s: float
    core_shares: tuple[float, ...]
    sent_bytes: int
    bytes_as_predicted: bool
    ideal_to_equal: float
    ideal_to_solo: float

    @property
    def slow_speed(self) -> float:
        """Of the last device, as a share of the first one's."""
        return self.speeds[-1] / self.speeds[0]

    @property
    def is_pair(self) -> bool:
        """Whether it is one of two emulated devices, model and size as the study has them."""
        return self.group in {Group.PAIRS, Group.OCCUPANCY} and not self.load_share


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One plan's pictures against the single device's.

    Attributes:
        case: name of the case for which the plan was made.
        variant: whose plan.
        quality: the distances.
    """

    case: str
    variant: Variant
    quality: PictureQuality


def summarise(
    case: Case,
    planned: Mapping[Variant, PlannedVariant],
    runs: Sequence[Run],
    ideal_s: Mapping[Variant, float],
) -> tuple[Row, ...]:
    """Rows of one case, a variant each.

    Args:
        case: the devices.
        planned: plans and predictions, made before the runs.
        runs: every variant once a round.
        ideal_s: see ``variants.ideal``.
    """
    by_variant = {
        variant: sorted((run for run in runs if run.variant is variant), key=lambda run: run.round_index)
        for variant in case.variants
    }
    walls_s = {variant: [run.denoise_s for run in ran] for variant, ran in by_variant.items()}
    return tuple(_row(case, planned[variant], by_variant[variant], walls_s, ideal_s) for variant in case.variants)


def _row(
    case: Case,
    planned: PlannedVariant,
    runs: Sequence[Run],
    walls_s: Mapping[Variant, Sequence[float]],
    ideal_s: Mapping[Variant, float],
) -> Row:
    variant, own_s = planned.variant, walls_s[planned.variant]
    equal_s, solo_s = walls_s[Variant.EQUAL], walls_s[Variant.SOLO]
    predicted_bytes = {share.agent: share.sent_bytes for share in planned.prediction.agents}
    return Row(
        case=case.name,
        group=case.group,
        speeds=case.speeds,
        load_share=case.load.share if case.load else 0.0,
        drawn=case.drawn,
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
            [utilisation(list(run.busy_s.values()), run.denoise_s, len(case.speeds)) for run in runs]
        ),
        member_utilisation=Spread.of([_member_utilisation(case, planned, run) for run in runs]),
        wait_s=tuple(median(run.wait_s[agent] for run in runs) for agent in planned.plan.agents),
        core_wait_s=median(run.core_wait_s for run in runs),
        core_shares=tuple(median(shares) for shares in zip(*(run.core_shares for run in runs), strict=True)),
        sent_bytes=sum(runs[0].sent_bytes.values()),
        bytes_as_predicted=all(run.sent_bytes == predicted_bytes for run in runs),
        ideal_to_equal=ideal_s[variant] / ideal_s[Variant.EQUAL],
        ideal_to_solo=ideal_s[variant] / ideal_s[Variant.SOLO],
    )


def _member_utilisation(case: Case, planned: PlannedVariant, run: Run) -> float:
    """Computing over time, of those that take part; a loaded device has only its share of the time."""
    members = planned.plan.agents
    busy_s = dict(run.busy_s)
    if case.load is not None:
        loaded = agent_of(case.load.device)
        if loaded in busy_s:
            busy_s[loaded] /= run.core_shares[case.load.device]
    return utilisation(list(busy_s.values()), run.denoise_s, len(members))


def row_from_json(data: Mapping[str, Any]) -> Row:
    """A row as a result file holds it."""
    spreads = {"denoise_s", "to_equal_paired", "to_solo_paired", "utilisation", "member_utilisation"}
    values: dict[str, Any] = {key: Spread(**value) if key in spreads else value for key, value in data.items()}
    values["variant"], values["group"] = Variant(data["variant"]), Group(data["group"])
    for name in ("speeds", "wait_s", "core_shares"):
        values[name] = tuple(data[name])
    return Row(**values)


def quality_from_json(data: Mapping[str, Any]) -> QualityRow:
    """A quality row as a result file holds it."""
    return QualityRow(case=data["case"], variant=Variant(data["variant"]), quality=PictureQuality(**data["quality"]))
