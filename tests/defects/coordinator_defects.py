"""Faults of planning, of the queue, of what follows a failure, and of the wire; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

AGENT = "gpu_agent/polyrhythm_agent"
SCHEDULING = "coordinator/polyrhythm_coordinator/scheduling"
CODEC = "protos/polyrhythm/codec"
SEARCH_TESTS = "tests/unit/coordinator/planning/test_search.py"
BUDGET_TESTS = "tests/unit/coordinator/planning/test_quality_budget.py"
QUEUE_TESTS = "tests/unit/coordinator/queue/test_order.py"
INQUIRY_TESTS = "tests/unit/coordinator/queue/test_inquiries.py"
PREPARATION_TESTS = "tests/unit/coordinator/queue/test_preparation.py"
PLAN_VERSIONS_TESTS = "tests/unit/protos/test_plan_versions.py"
REPLANNING_TESTS = "tests/unit/coordinator/replanning/test_weigh.py"
SHARING_TESTS = "tests/unit/coordinator/queue/test_gang_or_singles.py"
RESUME_TESTS = "tests/unit/coordinator/epochs/test_resume.py"
FAILED_TESTS = "tests/unit/coordinator/epochs/test_failed_pictures.py"
REFUSAL_TESTS = "tests/unit/protos/test_codec_refusals.py"
MEASURING_TESTS = "tests/unit/coordinator/fleet/test_measuring.py"
LEFT_OUT_TESTS = "tests/unit/coordinator/fleet/test_left_out.py"
COMPANY_TESTS = "tests/unit/coordinator/fleet/test_host_company.py"

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

QUEUE_DEFECTS = (
    PlantedDefect(
        name="measuring goes on for nobody",
        file=f"{SCHEDULING}/fleet/measuring.py",
        original="tx.send(agent.agent, StopMeasuring(request_id=measuring.number))",
        planted="continue",
        test_id=f"{MEASURING_TESTS}::test_a_measurement_ends_with_the_last_job_that_waits_for_it",
        why="a request that was cancelled keeps the fleet from the next picture for a minute",
    ),
    PlantedDefect(
        name="who dies measuring is asked until the job fails",
        file=f"{SCHEDULING}/queue/measurements.py",
        original='_leave_out(tx, asking, name, f"its worker ended while it measured: {reason}")',
        planted="pass",
        test_id=f"{LEFT_OUT_TESTS}::test_who_dies_measuring_for_a_job_is_left_out_of_it_while_others_can_make_it",
        why="one device whose driver is broken fails every job of a size that the others could make",
    ),
    PlantedDefect(
        name="a picture waits for who has left as long as for who loads",
        file=f"{SCHEDULING}/queue/preparation.py",
        original="until_s=min((patient_until_s, *returns_s))",
        planted="until_s=patient_until_s",
        test_id=(
            f"{LEFT_OUT_TESTS}::test_who_waits_for_an_agent_that_has_left_looks_again_when_it_is_not_expected_any_more"
        ),
        why="the client is told half a minute late that nothing can make its picture",
    ),
    PlantedDefect(
        name="a question about a plan waits for whoever works",
        file=f"{SCHEDULING}/queue/inquiries.py",
        original="able, late = kinds.plannable,",
        planted="able, late = kinds.ready,",
        test_id=f"{INQUIRY_TESTS}::test_a_question_about_known_speeds_waits_for_nobody_and_has_no_place_in_the_queue",
        why="while all agents make pictures, nobody is told how the next one would be made",
    ),
    PlantedDefect(
        name="a question about a plan goes before pictures",
        file=f"{SCHEDULING}/queue/inquiries.py",
        original="if comes_first(tx.state, inquiry.behind):",
        planted="if not tx.state:",
        test_id=(
            f"{INQUIRY_TESTS}::"
            "test_what_has_to_be_measured_waits_for_pictures_that_were_asked_for_before_and_for_no_others"
        ),
        why="whoever asks about size after size keeps the fleet from the pictures that wait",
    ),
    PlantedDefect(
        name="what is shelved stays on the shelf",
        file=f"{SCHEDULING}/queue/holding.py",
        original="Shelved(situation=situation(tx.state), until_s=until_s)",
        planted="Shelved(situation=situation(tx.state))",
        test_id=(
            f"{PREPARATION_TESTS}::"
            "test_a_picture_for_which_all_are_drained_is_looked_at_again_when_somebody_is_not_expected_back_any_more"
        ),
        why="a plan whose agent has left for good is waited for as long as another of its agents is drained",
    ),
    PlantedDefect(
        name="last come, first served",
        file=f"{SCHEDULING}/queue/admission.py",
        original="queue=(*tx.state.queue, job.job)",
        planted="queue=(*tx.state.queue[:1], job.job, *tx.state.queue[1:])",
        test_id=f"{QUEUE_TESTS}::test_jobs_run_in_order_and_are_told_their_place",
        why="whoever waits longest waits for ever",
    ),
    PlantedDefect(
        name="the next picture starts before a cancelled one has stopped",
        file=f"{SCHEDULING}/queue/order.py",
        original="works = bool(state.epochs) or any(",
        planted="works = False and any(",
        test_id=f"{QUEUE_TESTS}::test_cancel_while_running_stops_at_a_boundary_and_the_next_job_follows",
        why="devices that still compute for nobody are planned as if they were free",
    ),
    PlantedDefect(
        name="pictures go to the device that is free first, however slow",
        file=f"{SCHEDULING}/queue/gang_or_singles.py",
        original="begin_s + entry.single_s(name, in_company=in_company[name])",
        planted="begin_s",
        test_id=f"{SHARING_TESTS}::test_pictures_are_shared_out_by_speed",
        why="a slow device begins a last picture that a fast one would have made long before",
    ),
    PlantedDefect(
        name="who makes a whole picture is alone on its host",
        file=f"{SCHEDULING}/fleet/host_company.py",
        original="return not working.isdisjoint(neighbours(state, name))",
        planted="return False",
        test_id=(f"{COMPANY_TESTS}::test_what_they_take_beside_each_other_says_nothing_of_either_alone"),
        why="the more pictures devices of one host make at once, the slower each of them is thought to be alone",
    ),
    PlantedDefect(
        name="a device is given a second picture",
        file=f"{SCHEDULING}/fleet/reservations.py",
        original="return frozenset[AgentId]().union(*planned, *joining)",
        planted="return frozenset[AgentId]()",
        test_id=f"{SHARING_TESTS}::test_named_devices_do_not_keep_others_from_work",
        why="two pictures are planned for one device, and one of them is planned again and again",
    ),
    PlantedDefect(
        name="resume from the highest boundary",
        file=f"{SCHEDULING}/epochs/resume.py",
        original="return lowest_newest if lowest_newest in common else max(common, default=0)",
        planted="return max(max(boundaries) for boundaries in usable)",
        test_id=f"{RESUME_TESTS}::test_the_lowest_newest_boundary_that_all_hold[held1-8]",
        why="a survivor is asked for a state that it has not reached",
    ),
    PlantedDefect(
        name="a broken gang is used again",
        file=f"{SCHEDULING}/epochs/ending.py",
        original="if not all(run.ended is not None and run.ended.gang_intact for run in epoch.members.values()):",
        planted="if not all(run.ended is not None for run in epoch.members.values()):",
        test_id=f"{FAILED_TESTS}::test_a_failure_without_a_loss_is_tried_again_with_a_new_gang",
        why="sockets that were shut down, with messages of the last epoch in them",
    ),
)

FAILURE_DEFECTS = (
    PlantedDefect(
        name="a deadly picture is tried by everybody",
        file=f"{SCHEDULING}/epochs/giving_up.py",
        original="if len(deaths) < limits.deaths_max:",
        planted="if deaths:",
        test_id=f"{FAILED_TESTS}::test_a_request_that_ends_two_workers_is_tried_by_no_third",
        why="one request ends the worker of every device of the fleet, one after another",
    ),
    PlantedDefect(
        name="a deadly prompt is counted by everybody",
        file=f"{SCHEDULING}/queue/admission.py",
        original="elif died and number == 0:",
        planted="elif died and number < 0:",
        test_id=(
            "tests/unit/coordinator/queue/test_admission.py::test_a_prompt_that_ends_two_workers_is_looked_at_by_no_third"
        ),
        why="a text that a tokenizer breaks down on ends worker after worker, and its client waits for ever",
    ),
    PlantedDefect(
        name="silent agents are believed in for a minute",
        file=f"{SCHEDULING}/agent_messages.py",
        original="if silent_s > tx.limits.heartbeat_timeout_s:",
        planted="if silent_s > 60.0:",
        test_id="tests/unit/coordinator/test_agent_messages.py::test_a_silent_agent_is_lost_after_the_heartbeat_timeout",
        why="a picture whose device lost its power stands still instead of going on with the others",
    ),
    PlantedDefect(
        name="patience goes on while a process stands still",
        file="protos/polyrhythm/process/patient_clock.py",
        original="min(now_s, self.seen_s + reach_s)",
        planted="now_s",
        test_id=("tests/unit/coordinator/test_agent_messages.py::test_the_coordinators_own_pause_is_nobodys_fault"),
        why="a coordinator that was swapped out loses its whole fleet when it comes back",
    ),
    PlantedDefect(
        name="a picture calls for devices that compute in another dtype",
        file=f"{SCHEDULING}/fleet/eligibility.py",
        original="elif exact and own.dtype != wanted.facts.dtype:",
        planted="elif exact and own.dtype == wanted.facts.dtype:",
        test_id=(
            "tests/unit/coordinator/fleet/test_eligibility.py::"
            "test_a_picture_that_nobody_free_could_make_keeps_nobody_waiting"
        ),
        why="an exact picture is computed in two dtypes, and those that could begin wait behind it",
    ),
    PlantedDefect(
        name="a worker that ignores an abort lives on",
        file=f"{AGENT}/daemon/rules/deadlines.py",
        original="if now_s <= run.leave_by_s:",
        planted="if now_s <= run.leave_by_s + 600.0:",
        test_id="tests/unit/agent/daemon/test_rules_deadlines.py::test_an_aborted_worker_that_does_not_obey_is_killed",
        why="a hung collective keeps the device out of every further picture",
    ),
    PlantedDefect(
        name="a text that a model does not take is offered to every agent",
        file=f"{SCHEDULING}/queue/admission.py",
        original="if applicant is not None and violations:",
        planted="if applicant is not None and not violations:",
        test_id=(
            "tests/unit/coordinator/queue/test_admission.py::"
            "test_texts_that_the_model_does_not_take_are_refused_by_the_first_agent[unicorn--fields0]"
        ),
        why="the user is told that no agent could count, not what is wrong with the prompt",
    ),
    PlantedDefect(
        name="too long a prompt is accepted",
        file=f"{SCHEDULING}/queue/admission.py",
        original="if count > facts.token_limit",
        planted="if count > 1000 * facts.token_limit",
        test_id=(
            "tests/unit/coordinator/queue/test_admission.py::"
            "test_bad_input_names_its_field_and_is_not_queued[request_0-image.prompt]"
        ),
        why="the fault appears on the agents, after the wait in the queue",
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

WIRE_DEFECTS = (
    PlantedDefect(
        name="a field is not encoded",
        file=f"{CODEC}/mapping.py",
        original='    yield "return {"\n    for name in names:',
        planted='    yield "return {"\n    for name in names[:-1]:',
        test_id="tests/property/test_codec.py::test_inverse_of_every_union_member[BeatDone]",
        why="proto3 says nothing: the report counts no traffic at all",
    ),
    PlantedDefect(
        name="an unknown enum value becomes a default",
        file=f"{CODEC}/mapping.py",
        original="member = self._members.get(number)",
        planted="member = self._members.get(number, next(iter(self._members.values())))",
        test_id=f"{REFUSAL_TESTS}::test_a_message_that_means_nothing_names_its_field[unknown exchange]",
        why="a newer coordinator's new kind of segment is run as the oldest kind, silently",
    ),
)

EDGE_DEFECTS = (
    PlantedDefect(
        name="an option without effect is ignored",
        file="coordinator/polyrhythm_coordinator/simulation/command_line.py",
        original="for name in dict.fromkeys(given):",
        planted="for name in ():",
        test_id=(
            "tests/unit/simulation/test_command_line.py::"
            "test_what_says_how_pictures_are_made_is_refused_by_name_where_none_is[steps]"
        ),
        why="a fleet is described, and its user believes that it is for the steps that were asked for",
    ),
    PlantedDefect(
        name="simulated neighbours do not slow each other down",
        file="coordinator/polyrhythm_coordinator/simulation/engine/gang_run.py",
        original="request=self._truth_in_company()",
        planted="request=self._truth",
        test_id=(
            "tests/unit/simulation/test_simulate.py::"
            "test_devices_of_one_host_slow_each_other_down_while_each_makes_a_picture[box-1.0]"
        ),
        why="two CPU agents of a machine promise to make two pictures in the time of one",
    ),
    PlantedDefect(
        name="one agent's message ends everybody's jobs",
        file="coordinator/polyrhythm_coordinator/runtime/interpreter.py",
        original="return self._bear(event, error)",
        planted="raise InternalError(str(error)) from error",
        test_id=(
            "tests/unit/coordinator/runtime/test_isolation.py::"
            "test_an_agents_event_that_the_core_breaks_down_on_costs_that_agent_its_session_and_nothing_else"
        ),
        why="a figure that nobody thought of stops the coordinator with all pictures in it",
    ),
    PlantedDefect(
        name="what nobody reads is kept",
        file="coordinator/polyrhythm_coordinator/runtime/outbox.py",
        original="full = self._bytes > self._room.bytes_max and self._room.begins(item)",
        planted="full = False",
        test_id=(
            "tests/unit/coordinator/runtime/test_event_log.py::"
            "test_a_client_that_does_not_read_has_no_more_held_for_it_than_its_room_and_one_picture"
        ),
        why="eight clients that have stopped take the coordinator's memory",
    ),
    PlantedDefect(
        name="a job is accepted before it is stored",
        file=f"{SCHEDULING}/queue/admission.py",
        original="put_applicant(tx, replace(applicant, question=None, checked=job))",
        planted="_accept(tx, job)",
        test_id="tests/unit/coordinator/queue/test_admission.py::test_a_request_is_accepted_once_it_is_stored",
        why="a coordinator that ends in that moment has promised a picture of which nobody knows any more",
    ),
    PlantedDefect(
        name="what a lost decoder has sent is kept",
        file=f"{SCHEDULING}/epochs/ending.py",
        original="tx.emit(DropBytes(blob=epoch.file.blob))",
        planted="pass",
        test_id=(
            "tests/unit/coordinator/epochs/test_picture_files.py::"
            "test_what_a_lost_decoder_has_sent_is_dropped_and_the_next_one_begins_anew"
        ),
        why="every loss leaves half a picture in the coordinator's memory, until there is no room for any",
    ),
    PlantedDefect(
        name="progress is told as often as it is said",
        file="coordinator/polyrhythm_coordinator/runtime/news.py",
        original="if now_s < told_s + PROGRESS_INTERVAL_S and fact.step < fact.steps:",
        planted="if False:",
        test_id=(
            "tests/unit/coordinator/runtime/test_news.py::"
            "test_progress_is_told_seldom_its_beginning_and_its_end_at_once"
        ),
        why="a fast fleet sends every client a message a step",
    ),
    PlantedDefect(
        name="a place is told to whom has begun",
        file="coordinator/polyrhythm_coordinator/runtime/interpreter.py",
        original="if held is not None and held.started_s is None:",
        planted="if held is not None:",
        test_id=(
            "tests/unit/coordinator/runtime/test_long_queue.py::"
            "test_a_job_that_begins_while_places_are_told_keeps_the_place_of_one_that_has_begun"
        ),
        why="a client whose picture is being made is told that it waits",
    ),
    PlantedDefect(
        name="strides are any number",
        file=f"{CODEC}/plan.py",
        original="if value not in STRIDES:",
        planted="if value < 1:",
        test_id="tests/unit/protos/test_codec_bounds.py::test_a_stride_that_is_none_is_refused_before_any_least_common_multiple",
        why="a plan of half a MiB keeps the event loop busy for seconds with least common multiples",
    ),
)
