"""Faults of the queue, and of what follows a failure; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

AGENT = "gpu_agent/polyrhythm_agent"
SCHEDULING = "coordinator/polyrhythm_coordinator/scheduling"
QUEUE_TESTS = "tests/unit/coordinator/queue/test_order.py"
INQUIRY_TESTS = "tests/unit/coordinator/queue/test_inquiries.py"
PREPARATION_TESTS = "tests/unit/coordinator/queue/test_preparation.py"
SHARING_TESTS = "tests/unit/coordinator/queue/test_gang_or_singles.py"
RESUME_TESTS = "tests/unit/coordinator/epochs/test_resume.py"
FAILED_TESTS = "tests/unit/coordinator/epochs/test_failed_pictures.py"
MEASURING_TESTS = "tests/unit/coordinator/fleet/test_measuring.py"
LEFT_OUT_TESTS = "tests/unit/coordinator/fleet/test_left_out.py"
COMPANY_TESTS = "tests/unit/coordinator/fleet/test_host_company.py"

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
