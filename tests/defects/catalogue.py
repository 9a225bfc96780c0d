"""Known faults, each an exact replacement in the project's own text and the test that must notice it.

Owns the list only. A defect is worth planting if a real mistake could make it, if the picture still looks like one, or
if the only sign of it is a number that nobody looks at. What no test notices is no entry here but a missing test.
"""

from __future__ import annotations

from tests.defects.agent_defects import BOUNDARY_DEFECTS, DENOISER_DEFECTS, EXCHANGE_DEFECTS, LOOP_DEFECTS
from tests.defects.client_defects import CLIENT_DEFECTS
from tests.defects.edge_defects import EDGE_DEFECTS, WIRE_DEFECTS
from tests.defects.patch_defects import PATCH_DEFECTS
from tests.defects.planning_defects import PLANNER_DEFECTS, REPLAN_DEFECTS
from tests.defects.queue_defects import FAILURE_DEFECTS, QUEUE_DEFECTS
from tests.defects.sampler_defects import SAMPLER_DEFECTS

DEFECTS = (
    *DENOISER_DEFECTS,
    *PATCH_DEFECTS,
    *SAMPLER_DEFECTS,
    *BOUNDARY_DEFECTS,
    *EXCHANGE_DEFECTS,
    *LOOP_DEFECTS,
    *PLANNER_DEFECTS,
    *QUEUE_DEFECTS,
    *FAILURE_DEFECTS,
    *REPLAN_DEFECTS,
    *WIRE_DEFECTS,
    *EDGE_DEFECTS,
    *CLIENT_DEFECTS,
)
