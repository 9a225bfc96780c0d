"""Faults of the wire and of the edges of the coordinator; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

SCHEDULING = "coordinator/polyrhythm_coordinator/scheduling"
CODEC = "protos/polyrhythm/codec"
REFUSAL_TESTS = "tests/unit/protos/test_codec_refusals.py"

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
        test_id="tests/unit/coordinator/queue/test_stored_requests.py::test_a_request_is_accepted_once_it_is_stored",
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
