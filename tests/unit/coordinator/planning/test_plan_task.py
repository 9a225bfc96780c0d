"""The answer to a plan task: what the search says, and what a user should know besides."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from polyrhythm.job.image import Quality
from polyrhythm.model.facts import ModelFacts
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.plan_requests import FACTS, plan_request

STAND_IN = "scheduler PNDMScheduler is not offered, since it looks back; ddim is the default instead"


@pytest.mark.parametrize("fixed", [False, True])
def test_notices_of_the_model_and_of_a_sampler_without_strides_reach_the_user(fixed: bool) -> None:
    request = plan_request([1.0, 0.5])
    facts = replace(FACTS, full_rate_samplers=(request.image.sampler,), notices=(STAND_IN,))
    plan = search_plan(request).chosen.plan if fixed else None

    def told(facts_told: ModelFacts, quality: Quality = Quality.BALANCED) -> tuple[str, ...]:
        asked = replace(request, facts=facts_told, image=replace(request.image, quality=quality))
        return explanation_of(PlanTask(request=asked, exclusions=(), fixed_plan=plan)).notices

    assert told(FACTS) == ()
    assert told(replace(FACTS, notices=(STAND_IN,))) == (STAND_IN,)
    full_rate = "ddim makes every step on every device, so no plan has strides above 1"
    assert told(facts) == ((STAND_IN,) if fixed else (STAND_IN, full_rate))  # who gives a plan knows its strides
    assert told(facts, Quality.EXACT) == (STAND_IN,)  # which has no strides in any case


def test_a_search_takes_one_core() -> None:
    """Threads of its matrix products would wait for each other by spinning, on the cores of the agents."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    code = "import os, polyrhythm_coordinator.scheduling.planning.plan_task; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=15
    )
    assert done.stdout == "1\n"
