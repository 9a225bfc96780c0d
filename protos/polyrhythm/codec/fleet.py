"""Connected agents, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from polyrhythm.codec.bounds import name, told
from polyrhythm.codec.device import DEVICE, SOFTWARE
from polyrhythm.codec.mapping import EnumTable, Mapped
from polyrhythm.codec.model import MODELS
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.v1 import fleet_pb2

AGENT = Mapped(
    AgentView,
    fleet_pb2.Agent,
    name=name,
    state=EnumTable(AgentState, fleet_pb2.AgentState),
    device=DEVICE,
    models=MODELS,
    software=SOFTWARE,
    trouble=told,
)
