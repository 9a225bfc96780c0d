"""Faults of planning and of re-planning; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

SCHEDULING = "coordinator/polyrhythm_coordinator/scheduling"
SEARCH_TESTS = "tests/unit/coordinator/planning/test_search.py"
BUDGET_TESTS = "tests/unit/coordinator/planning/test_quality_budget.py"
PLAN_VERSIONS_TESTS = "tests/unit/protos/test_plan_versions.py"
REPLANNING_TESTS = "tests/unit/coordinator/replanning/test_weigh.py"
MEASURING_TESTS = "tests/unit/coordinator/fleet/test_measuring.py"

PLANNER_DEFECTS = (
    PlantedDefect(
        name="balanced skips steps on all members",
        file=f"{SCHEDULING}/planning/quality_budget.py",
        original="if budget.policy.merges_all and max(budget.policy.strides) > 1:",
        planted="if max(budget.policy.strides) > 1:",
        test_id=f"{BUDGET_TESTS}::test_balanced_never_takes_a_step_away_from_the_fastest_member",
        why="whoever asks for 20 steps gets 10, and one device makes them",
    ),
    PlantedDefect(
        name="one device is as slow as beside its neighbours",
        file="protos/polyrhythm/plan/profile.py",
        original="return self.alone if alone and self.alone is not None else self.together",
        planted="return self.together",
        test_id=(
            f"{MEASURING_TESTS}::"
            "test_a_plan_of_one_device_rests_on_its_speed_alone_and_a_gang_on_that_beside_the_others"
        ),
        why="a gang is formed that is slower than its fastest member alone",
    ),
    PlantedDefect(
        name="strides for a sampler that draws noise",
        file=f"{SCHEDULING}/planning/search.py",
        original="return at_full_rate(policy) if every_step else policy",
        planted="return policy",
        test_id=f"{SEARCH_TESTS}::test_a_sampler_that_makes_every_step_gets_no_strides_in_any_candidate[balanced]",
        why="the slower device cannot make the picture: its first strided step ends the epoch, again and again",
    ),
    PlantedDefect(
        name="the touchiest pictures keep no budget",
        file=f"{SCHEDULING}/planning/distortion.py",
        original="(np.quantile(psnr_XP, LOW_QUANTILE, axis=1) >= floor.low_db)",
        planted="(psnr_XP.mean(axis=1) >= floor.mean_db)",
        test_id=f"{BUDGET_TESTS}::test_the_touchiest_pictures_keep_the_budget_as_well[balanced]",
        why="pictures that are touchy to skipped steps come out far below what the quality promises",
    ),
    PlantedDefect(
        name="the nearest length counts for all lengths between",
        file=f"{SCHEDULING}/planning/step_errors.py",
        original="share=log(steps / shorter) / log(longer / shorter))",
        planted="share=round(log(steps / shorter) / log(longer / shorter)))",
        test_id=(
            "tests/unit/coordinator/planning/test_distortion.py::"
            "test_between_two_lengths_each_counts_by_its_nearness_and_at_a_length_it_counts_alone[1]"
        ),
        why="predictions jump by decibels between two numbers of steps",
    ),
    PlantedDefect(
        name="a calibration is trusted at any guidance",
        file=f"{SCHEDULING}/planning/calibration_trust.py",
        original="alike = [one for one in of_sampler if not _unlike(one, image)]",
        planted="alike = of_sampler",
        test_id="tests/unit/coordinator/planning/test_calibration_trust.py::test_guidance_and_size_count_as_far_as_they_are_alike",
        why="steps are skipped on pictures of which nothing is known",
    ),
    PlantedDefect(
        name="strides cost nothing less",
        file=f"{SCHEDULING}/planning/cost_model.py",
        original="return forward_s_AK / np.array(strides)[:, None]",
        planted="return forward_s_AK",
        test_id="tests/unit/coordinator/planning/test_cost_model.py::test_a_stride_halves_what_an_agent_costs_a_fine_step",
        why="slow devices get too few rows, or are left out",
    ),
    PlantedDefect(
        name="predicted bytes count every version",
        file=f"{SCHEDULING}/planning/message_counts.py",
        original="return {max(k for k in computed if k < step) for step in reading if step > beat.begin_step}",
        planted="return set(computed) if reading else set[int]()",
        test_id="tests/unit/coordinator/planning/test_message_counts.py::test_bytes_count_versions_and_boundaries",
        why="plans with strides look as expensive on the wire as plans without",
    ),
    PlantedDefect(
        name="rows may overlap",
        file="protos/polyrhythm/plan/rows.py",
        original="if rows.begin != position:",
        planted="if rows.begin > position:",
        test_id=(
            "tests/unit/protos/test_plan_invariants.py::test_rows_that_do_not_partition_the_image_are_refused[bounds0]"
        ),
        why="two devices compute the same rows, and which of them is seen depends on luck",
    ),
    PlantedDefect(
        name="one row is given to nobody",
        file=f"{SCHEDULING}/planning/row_partition.py",
        original='taken_K = np.argsort(costs_K, kind="stable")[:row_count]',
        planted='taken_K = np.argsort(costs_K, kind="stable")[: row_count - 1]',
        test_id="tests/unit/coordinator/planning/test_row_partition.py::test_rows_follow_speed",
        why="plans for a picture that is a row too short",
    ),
    PlantedDefect(
        name="no device works alone",
        file=f"{SCHEDULING}/planning/search.py",
        original="for size in range(1, len(agents) + 1):\n            yield from combinations(agents, size)",
        planted="for size in range(2, len(agents) + 1):\n            yield from combinations(agents, size)",
        test_id=f"{SEARCH_TESTS}::test_the_fastest_device_alone_is_always_shown",
        why="a very slow second device makes every picture slower than without it",
    ),
    PlantedDefect(
        name="a resumed picture warms nothing up",
        file=f"{SCHEDULING}/planning/quality_policy.py",
        original="RESUME_WARMUP_STEPS = 1",
        planted="RESUME_WARMUP_STEPS = 0",
        test_id="tests/unit/coordinator/planning/test_quality_policy.py::test_a_resumed_epoch_needs_one_synchronous_step_beyond_the_warm_up",
        why="after a loss the survivors would read activations that nobody has",
    ),
)

REPLAN_DEFECTS = (
    PlantedDefect(
        name="a newer plan takes over in its middle",
        file="protos/polyrhythm/plan/plan_versions.py",
        original="self.versions[version].begin_step == step",
        planted="self.versions[version].begin_step <= step",
        test_id=f"{PLAN_VERSIONS_TESTS}::test_a_newer_version_takes_over_at_its_first_step_or_never",
        why="rows move without a synchronous step, and the report tells of plans that nobody followed",
    ),
    PlantedDefect(
        name="one slow step is a change of speed",
        file=f"{SCHEDULING}/planning/speed_change.py",
        original="min(departure - log(BAND), STEP_MAX)",
        planted="departure - log(BAND)",
        test_id=(
            "tests/property/test_replan_rule.py"
            "::test_one_forward_out_of_step_is_never_a_change_even_if_another_one_follows_later"
        ),
        why="every hiccup of a machine costs two plans: one away from it and one back",
    ),
    PlantedDefect(
        name="speed by CPU time",
        file=f"{SCHEDULING}/epochs/plan_switch.py",
        original="watched(agent, report.step_s, beat.segment)",
        planted="watched(agent, [report.busy_s / max(1, report.active_steps)], beat.segment)",
        test_id=f"{REPLANNING_TESTS}::test_a_member_at_half_its_speed_gives_rows_away",
        why="another process on the core slows the picture down and nobody sees it",
    ),
    PlantedDefect(
        name="what is measured during a takeover is forgotten",
        file=f"{SCHEDULING}/epochs/plan_switch.py",
        original="watches=takeover.watches",
        planted="watches={}",
        test_id=(
            f"{REPLANNING_TESTS}::test_what_a_member_does_while_a_newer_plan_is_on_its_way_is_held_against_that_plan"
        ),
        why="a plan for a load that was still growing is followed for as long as the first one was",
    ),
    PlantedDefect(
        name="a takeover one boundary too early",
        file=f"{SCHEDULING}/epochs/plan_switch.py",
        original="course.beats_within(boundary, unseen_s) - 1",
        planted="course.beats_within(boundary, unseen_s) - 2",
        test_id=f"{REPLANNING_TESTS}::test_the_boundary_of_a_takeover_allows_for_the_age_of_reports",
        why="plans come too late for the members to agree on them: the fleet is re-planned and never changes",
    ),
)
