"""How long the scheduling core waits for what, in seconds. All of its patience is in this one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Patience of the core.

    Attributes:
        tick_interval_s: how often a Tick comes.
        heartbeat_interval_s: how often agents are told to speak: what can wait travels then, or else a heartbeat.
        heartbeat_timeout_s: an agent that says nothing for so long is lost.
        token_timeout_s: to count the tokens of a prompt; then another agent is asked.
        loading_grace_s: a request or a picture waits so long for agents that are loading when nobody else can make it.
        return_grace_s: an agent whose stream has ended counts as loading for so long: it dials again at once.
        profile_timeout_s: to measure a size; generous, since a first forward on a slow device takes long.
        forming_timeout_s: to form a gang and share the condition, encoding not included.
        decode_timeout_s: to decode and send the picture, beside ``slack`` times the predicted time.
        step_timeout_s: of an active step, beside ``slack`` times the predicted time: however short a step is, a busy
            machine may keep a process from its core for seconds.
        abort_timeout_s: a member that has not left an aborted epoch by then, beside ``abort_slack`` times what it
            cannot interrupt, is lost. More than its daemon allows, who knows better which worker hangs.
        alone_extra_s: more of both, for a step and for an abort, in an epoch of one member: nobody waits for it, and
            all that it has made is lost with its worker. On two cores that nine busy threads wanted, the longest of
            180 steps of half a second took 15 s.
        abort_slack: how many times its prediction a step, an encoding or a decoding may take before an abort is seen.
        cancel_timeout_s: an epoch that has not ended by then, and two predicted beats, is aborted, unless only its
            picture is still being decoded.
        slack: how many times its prediction anything may take. Devices that are shared with other programs slow down
            by a small factor; a hang is for ever.
        replan_lead_s: from a decision to re-plan until all members hold the plan, at first; that reports may be a
            heartbeat's interval older than they look comes on top.
        switch_s: what a newer plan costs a running epoch beside its own prediction.
        forming_s: what it costs to end an epoch at a boundary and to form another gang.
        join_left_s: a newcomer is asked to measure only if so much of the picture is left; measuring takes seconds.
        failures_max: epochs that may fail in a row at one boundary while no agent is lost.
        deaths_max: epochs of one picture, measurements for it, or counts of one request's tokens, that end by the end
            of a worker under a living agent.
    """

    tick_interval_s: float = 0.2
    heartbeat_interval_s: float = 0.25
    heartbeat_timeout_s: float = 1.0
    token_timeout_s: float = 5.0
    loading_grace_s: float = 30.0
    return_grace_s: float = 5.0
    profile_timeout_s: float = 120.0
    forming_timeout_s: float = 15.0
    decode_timeout_s: float = 10.0
    step_timeout_s: float = 3.0
    abort_timeout_s: float = 2.0
    alone_extra_s: float = 10.0
    abort_slack: float = 2.0
    cancel_timeout_s: float = 1.0
    slack: float = 4.0
    replan_lead_s: float = 0.1
    switch_s: float = 0.02
    forming_s: float = 0.5
    join_left_s: float = 4.0
    failures_max: int = 3
    deaths_max: int = 2

    @property
    def unticked_s(self) -> float:
        """Seconds since the last Tick that count: if it is longer ago, the coordinator itself stood still."""
        return 2 * self.tick_interval_s
