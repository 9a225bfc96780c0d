"""What the planner is given: one picture, the measured candidates and their links. Owns the sizes that follow from it.

Everything is an argument: the planner reads no clock, no fleet and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.profile import Link, Profile
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.dtypes import exchanged_as
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of

UNMEASURED_LINK = Link(latency_s=0.3e-3, bytes_per_s=1e9)
"""Assumed between two agents that never shared a gang.

A few times slower than Gloo over loopback or PCIe and about what 10 GbE reaches. It must not be so slow that the
search refuses every gang: links are measured only when a gang forms, so a pessimist would never learn better.
"""
UNMEASURED_CPU_LINK = replace(UNMEASURED_LINK, handling_s=0.06e-3, handling_s_per_byte=0.2e-9)
"""The same from an agent that computes on a CPU: the middle of what such agents measured with Gloo on a server's core.

Without it the first plan of a fleet, made before any gang formed, would take a gang to be free of what every later plan
counts against it: half a second of four on a small UNet, whose layers send many small messages.
"""

STATE_TENSORS = 2
"""x and the last x0, sent at every boundary."""


class SearchEffort(StrEnum):
    """Closed set of how much a search may look at."""

    FULL = "full"
    """All gangs and strides; whoever is left out is told why, and beside the plan stand the best of other kinds."""
    QUICK = "quick"
    """Milliseconds, since a picture goes on meanwhile: the agents of the running plan, if they are all there, or its
    fastest member alone, and what is hardly ever better is passed over. Nothing is told beside the plan."""


@dataclass(frozen=True, kw_only=True)  # without slots: what a search asks for thousands of times is kept
class PlanRequest:
    """One picture to plan.

    Attributes:
        image: what is asked for.
        facts: of its model; those by which a gang's activations travel once one is chosen (``among``).
        profiles: one for each agent that may take part, for exactly this picture's workload; their order is the
            order of ranks and of rows, top of the image first.
        links: measured links as ``(sender, receiver)``. Where only the other direction was measured, that one
            counts; where none was, ``UNMEASURED_LINK`` or ``UNMEASURED_CPU_LINK``.
        usable_bytes: memory that each candidate may use for this picture, what it holds already included; of one that
            is absent it is not known, and everything fits.
        begin_step: 0, or the boundary at which an epoch resumes.
        version: of the plan to make; counts the re-plans of a job, from 1.
        own_facts: each candidate's own facts of the model, where they do not all compute in the dtype of ``facts``.
        effort: how much is looked at.
        running: the plan that is being followed, where the rest of a picture is planned anew.
        on_cpu: candidates that compute on a CPU, which handles their messages too.
    """

    image: ImageSpec
    facts: ModelFacts
    profiles: tuple[Profile, ...]
    links: Mapping[tuple[AgentId, AgentId], Link] = field(
        default_factory=lambda: MappingProxyType(dict[tuple[AgentId, AgentId], Link]())
    )
    usable_bytes: Mapping[AgentId, int] = field(default_factory=lambda: MappingProxyType(dict[AgentId, int]()))
    begin_step: int = 0
    version: int = 1
    own_facts: Mapping[AgentId, ModelFacts] = field(
        default_factory=lambda: MappingProxyType(dict[AgentId, ModelFacts]())
    )
    effort: SearchEffort = SearchEffort.FULL
    running: Plan | None = None
    on_cpu: frozenset[AgentId] = frozenset()

    def __post_init__(self) -> None:
        if not self.profiles:
            raise NoAgentsError(f"no agent is ready with model {self.image.model!r} and a profile for this size")
        if len(set(self.agents)) != len(self.profiles):
            raise ValueError(f"an agent is profiled twice: {self.agents}")
        if not 0 <= self.begin_step < self.image.steps:
            raise ValueError(f"no steps are left: begin {self.begin_step} of {self.image.steps}")
        if self.own_facts and not self.own_facts.keys() >= set(self.agents):
            raise ValueError(f"own facts are known of {', '.join(self.own_facts)}, not of all of {self.agents}")
        wanted = workload_of(self.image)
        for profile in self.profiles:
            if profile.workload != wanted:
                raise ValueError(f"profile of {profile.agent} is for {profile.workload}, the picture is {wanted}")

    @cached_property
    def agents(self) -> tuple[AgentId, ...]:
        """Candidates in rank order."""
        return tuple(profile.agent for profile in self.profiles)

    @cached_property
    def profile_of(self) -> Mapping[AgentId, Profile]:
        """Profiles by candidate."""
        return dict(zip(self.agents, self.profiles, strict=True))

    @property
    def batch(self) -> int:
        """Batch elements of one forward: both guidance halves, or one."""
        return self.facts.batch(self.image.guidance)

    @property
    def row_count(self) -> int:
        """Row units of the picture."""
        return self.facts.row_count(self.image.height_px)

    def profile(self, agent: AgentId) -> Profile:
        """One candidate's profile.

        Raises:
            KeyError: the agent is no candidate.
        """
        return self.profile_of[agent]

    def facts_of(self, agent: AgentId) -> ModelFacts:
        """One candidate's own facts of the model: what it holds takes the bytes of its own arithmetic."""
        return self.own_facts.get(agent, self.facts)

    def among(self, agents: Iterable[AgentId]) -> PlanRequest:
        """The same with the sizes of what some candidates exchange as one gang, members without rows included."""
        if not self.own_facts:
            return self
        sizes = exchanged_as(self.own_facts[agent] for agent in agents)
        if sizes.dtype == self.facts.dtype:
            return self
        return replace(self, facts=replace(self.facts, dtype=sizes.dtype, exchanged=sizes.exchanged))

    def link(self, sender: AgentId, receiver: AgentId) -> Link:
        """The link from one agent to another, measured or assumed."""
        assumed = UNMEASURED_CPU_LINK if sender in self.on_cpu else UNMEASURED_LINK
        return self.links.get((sender, receiver)) or self.links.get((receiver, sender)) or assumed

    def tokens(self, rows: RowRange) -> int:
        """Tokens of a row range; the last row unit of the picture may be short."""
        height_px = min(rows.end * self.facts.row_unit_px, self.image.height_px) - rows.begin * self.facts.row_unit_px
        return (self.image.width_px // self.facts.token_px) * (max(0, height_px) // self.facts.token_px)

    def version_bytes(self, rows: RowRange, reader_rows: RowRange) -> int:
        """Bytes of one version of a row range's activations, all layers, to the owner of another."""
        return sum(self._group_bytes(group, rows, reader_rows) for group in self.facts.exchanged)

    @cached_property
    def row_bytes(self) -> int:
        """What one whole row unit adds to a version."""
        unit = RowRange(begin=0, end=1)
        return sum(self._group_bytes(group, unit, unit) for group in self._groups(LayerKind.TOKENS))

    @cached_property
    def moments_bytes(self) -> int:
        """What a version has to every peer whatever its rows are."""
        unit = RowRange(begin=0, end=1)
        return sum(self._group_bytes(group, unit, unit) for group in self._groups(LayerKind.MOMENTS))

    @cached_property
    def rims_bytes(self) -> int:
        """What a version has to the neighbours on both sides together."""
        upper, lower = RowRange(begin=0, end=1), RowRange(begin=1, end=2)
        pairs = ((upper, lower), (lower, upper))
        return sum(self._group_bytes(group, *pair) for group in self._groups(LayerKind.HALO) for pair in pairs)

    def messages(self, peers: int) -> float:
        """Messages of one version to one of so many peers, on average: halos go to two neighbours at most."""
        halos = sum(group.layers for group in self._groups(LayerKind.HALO))
        return self.facts.layers - halos + halos * min(1.0, 2.0 / peers)

    def _groups(self, kind: LayerKind) -> Iterator[LayerGroup]:
        return (group for group in self.facts.exchanged if group.kind is kind)

    def _group_bytes(self, group: LayerGroup, rows: RowRange, reader_rows: RowRange) -> int:
        batch = self.batch if group.guided else 1
        return group.layers * batch * group.cell_bytes * self._cells(group, rows, reader_rows)

    def _cells(self, group: LayerGroup, rows: RowRange, reader_rows: RowRange) -> int:
        if not rows.count:
            return 0
        if group.kind is LayerKind.MOMENTS:
            return 1
        columns = group.cells(self.image.width_px)
        if group.kind is LayerKind.TOKENS:
            unit_px = self.facts.row_unit_px
            return columns * (
                group.cells(min(rows.end * unit_px, self.image.height_px)) - group.cells(rows.begin * unit_px)
            )
        if rows.count and reader_rows.count:
            if rows.end == reader_rows.begin:
                return columns * group.rows_above
            if reader_rows.end == rows.begin:
                return columns * group.rows_below
        return 0

    def boundary_bytes(self, rows: RowRange) -> int:
        """Bytes of x and x0 of a row range, to one peer."""
        fp32_widths = 2 if self.facts.dtype == "float64" else 1
        return self.tokens(rows) * self.facts.latent_bytes_per_token * fp32_widths * STATE_TENSORS
