"""Known faults, each an exact replacement in the project's own text and the test that must notice it.

Owns the list only. A defect is worth planting if a real mistake could make it, if the picture still looks like one, or
if the only sign of it is a number that nobody looks at. What no test notices is no entry here but a missing test.
"""

from __future__ import annotations

from tests.defects.patch_defects import PATCH_DEFECTS
from tests.defects.planted import PlantedDefect

AGENT = "gpu_agent/polyrhythm_agent"
SCHEDULING = "coordinator/polyrhythm_coordinator/scheduling"
CODEC = "protos/polyrhythm/codec"
GANG_PICTURES = "tests/integration/test_gang_pictures.py"
FAMILY_EQUALITY = "tests/integration/test_family_equality.py"
STEP_LOOP_TESTS = "tests/unit/agent_loop/test_step_loop.py"
EXCHANGE_SCHEDULE_TESTS = "tests/unit/test_exchange_schedule.py"
EXCHANGE_CONTENTS_TESTS = "tests/unit/test_exchange_contents.py"
SEARCH_TESTS = "tests/unit/scheduling/test_search.py"
QUEUE_TESTS = "tests/unit/coordinator/test_queue.py"
PLAN_BOOK_TESTS = "tests/unit/agent_loop/test_plan_book.py"
REPLANNING_TESTS = "tests/unit/coordinator/test_replanning.py"
RECOVERY_TESTS = "tests/unit/coordinator/test_recovery.py"
REFUSAL_TESTS = "tests/unit/protos/test_codec_refusals.py"


DENOISER_DEFECTS = (
    PlantedDefect(
        name="position embedding one row too high",
        file=f"{AGENT}/denoiser/token_transformer.py",
        original="self._position_AD[rows.begin * per_row : rows.end * per_row]",
        planted="self._position_AD[max(rows.begin - 1, 0) * per_row :][: rows.count * per_row]",
        test_id="tests/integration/test_family_rows.py::test_patches_are_the_whole_picture[pixart-16-counts0]",
        why="every patch but the topmost believes that it lies a row higher: a seam",
    ),
    PlantedDefect(
        name="guidance halves swapped",
        file=f"{AGENT}/denoiser/guided_run.py",
        original="negative_BCHW, positive_BCHW = prediction_BCHW.chunk(2)",
        planted="positive_BCHW, negative_BCHW = prediction_BCHW.chunk(2)",
        test_id=f"{FAMILY_EQUALITY}::test_one_device_is_diffusers[pixart-16-20-ddim-dtype0]",
        why="the picture flees the prompt and follows the negative one, on any number of devices alike",
    ),
    PlantedDefect(
        name="the null class is the last class",
        file=f"{AGENT}/denoiser/dit.py",
        original="[labels.count, labels.number(image.prompt)]",
        planted="[labels.count - 1, labels.number(image.prompt)]",
        test_id=f"{FAMILY_EQUALITY}::test_one_device_is_diffusers[dit-16-20-ddim-dtype0]",
        why="every picture flees one class rather than no class at all",
    ),
    PlantedDefect(
        name="text mask ignored",
        file=f"{AGENT}/denoiser/attention.py",
        original="query_BhNd, key_BhAd, value_BhAd, attn_mask=bias_Bh1L)",
        planted="query_BhNd, key_BhAd, value_BhAd, attn_mask=None)",
        test_id=f"{FAMILY_EQUALITY}::test_one_device_is_diffusers[pixart-16-20-dpmpp-2m-dtype0]",
        why="padding counts as text: short prompts are washed out",
    ),
    PlantedDefect(
        name="noise of its own for every agent",
        file=f"{AGENT}/denoiser/noise.py",
        original="manual_seed(self._seed)",
        planted="manual_seed(self._seed + id(self))",
        test_id=f"{GANG_PICTURES}::test_exact_is_the_picture_of_plain_diffusers[pixart-2-16-ddim-dtype0]",
        why="a seed means another picture on each split, and the same one never comes back",
    ),
    PlantedDefect(
        name="ddim always ends at the clean picture",
        file=f"{AGENT}/denoiser/grid.py",
        original="float(scheduler.final_alpha_cumprod)",
        planted="1.0",
        test_id="tests/unit/denoiser/test_sampling.py::test_ddim_is_diffusers[stable diffusion-24]",
        why="models whose schedule ends at the first trained level get a last step that they were not trained for",
    ),
    PlantedDefect(
        name="euler begins with noise of size one",
        file=f"{AGENT}/denoiser/grid.py",
        original='initial_scale=_initial_scale(scheduler.config["timestep_spacing"], sigmas[0]),',
        planted="initial_scale=1.0,",
        test_id=f"{FAMILY_EQUALITY}::test_euler_in_all_its_forms[karras-dtype0]",
        why="a little too much noise at the start: other colours than diffusers paints with the same seed",
    ),
    PlantedDefect(
        name="dynamic shift by the tokens of a patch",
        file=f"{AGENT}/denoiser/token_transformer.py",
        original="image_tokens=geometry.row_count * geometry.layers[0].columns,",
        planted="image_tokens=geometry.row_count // 2 * geometry.layers[0].columns,",
        test_id=f"{FAMILY_EQUALITY}::test_euler_in_all_its_forms[flow by size-dtype0]",
        why="every split has noise levels of its own, and none has the model's",
    ),
    PlantedDefect(
        name="ancestral noise of the topmost rows for every patch",
        file=f"{AGENT}/denoiser/guided_run.py",
        original="own_BCHW = self._noise.of_step(step)[:, :, self.geometry.latent_slice(rows)]",
        planted=(
            "own_BCHW = self._noise.of_step(step)[:, :, self.geometry.latent_slice(RowRange(begin=0, end=rows.count))]"
        ),
        test_id=f"{FAMILY_EQUALITY}::test_ancestral_noise_is_cut_from_that_of_the_whole_picture[counts1]",
        why="another picture on every split, with the same grain in each strip",
    ),
    PlantedDefect(
        name="the first ancestral step adds the initial noise again",
        file=f"{AGENT}/denoiser/noise.py",
        original="return self._draw(1 + step)",
        planted="return self._draw(step)",
        test_id="tests/unit/denoiser/test_euler.py::test_ancestral_noise_is_bit_by_bit_what_diffusers_draws",
        why="noise that is not independent of the picture: washed out at the start, and never diffusers' picture",
    ),
    PlantedDefect(
        name="solver's lambda is one step older than its picture",
        file=f"{AGENT}/denoiser/sampling.py",
        original="self.grid.departures[k].half_log_snr",
        planted="self.grid.departures[max(k - 1, 0)].half_log_snr",
        test_id="tests/unit/denoiser/test_sampling.py::test_dpm_solver_is_diffusers[defaults-24]",
        why="second-order steps extrapolate over the wrong distance: soft, slightly wrong pictures",
    ),
)

BOUNDARY_DEFECTS = (
    PlantedDefect(
        name="history counts from the first step of a beat",
        file=f"{AGENT}/boundary.py",
        original="after[row] = active[-1]",
        planted="after[row] = active[0]",
        test_id="tests/unit/agent_loop/test_boundary.py::test_history_is_each_owners_last_active_step",
        why="after every boundary the solver believes that rows of others were predicted earlier than they were",
    ),
    PlantedDefect(
        name="history stays behind when rows move",
        file=f"{AGENT}/step_loop.py",
        original="self._history[assignment.rows.begin : assignment.rows.end]",
        planted="self._history[: assignment.rows.count]",
        test_id=f"{STEP_LOOP_TESTS}::test_history_goes_with_the_rows",
        why="rows that a slower device predicted are stepped as if they had been the fastest one's",
    ),
    PlantedDefect(
        name="boundary forgets x0",
        file=f"{AGENT}/exchange/session.py",
        original="for state_BCHW, part_BCHW in zip(states_BCHW, self._wires.take(key), strict=True):",
        planted="for state_BCHW, part_BCHW in zip(states_BCHW[:1], self._wires.take(key)[:1], strict=True):",
        test_id=f"{EXCHANGE_CONTENTS_TESTS}::test_a_boundary_puts_x_and_x0_of_each_peer_in_their_place",
        why="invisible while rows stay: who takes rows over steps them with a stale clean picture",
    ),
    PlantedDefect(
        name="boundary rows of the wrong peer",
        file=f"{AGENT}/exchange/session.py",
        original="keys = {peer: BoundaryRows(self._ranks[peer], beat.end_step) for peer in traffic.boundary_sources}",
        planted=(
            "keys = {peer: BoundaryRows(self._ranks[other], beat.end_step) for peer, other in "
            "zip(traffic.boundary_sources, reversed(traffic.boundary_sources), strict=True)}"
        ),
        test_id=f"{EXCHANGE_CONTENTS_TESTS}::test_a_boundary_puts_x_and_x0_of_each_peer_in_their_place",
        why="with three devices two strips of the picture change places",
    ),
    PlantedDefect(
        name="only the last boundary is kept",
        file=f"{AGENT}/boundary.py",
        original="HELD_BOUNDARIES = 2",
        planted="HELD_BOUNDARIES = 1",
        test_id="tests/unit/agent_loop/test_boundary.py::test_memory_keeps_the_last_two_boundaries_of_a_job",
        why="survivors that stand one boundary apart have none in common: the picture begins again",
    ),
)

EXCHANGE_DEFECTS = (
    PlantedDefect(
        name="remote keys and values dropped",
        file=f"{AGENT}/exchange/step_exchange.py",
        original="return held[version][:, :, tokens].to(own_KBND.dtype)",
        planted="return torch.zeros_like(held[version][:, :, tokens], dtype=own_KBND.dtype)",
        test_id=f"{GANG_PICTURES}::test_exact_is_the_picture_of_plain_diffusers[pixart-2-16-dpmpp-2m-dtype0]",
        why="every patch is a picture of its own: the fault that a careless tolerance hides",
    ),
    PlantedDefect(
        name="stale reads one version late",
        file=f"{AGENT}/exchange/schedule.py",
        original="return before[-1] if before else None",
        planted="return before[max(len(before) - 2, 0)] if before else None",
        test_id=f"{EXCHANGE_SCHEDULE_TESTS}::test_later_displaced_steps_read_the_last_version_before_them",
        why="twice the staleness that the quality policy promises",
    ),
    PlantedDefect(
        name="synchronous steps read stale versions",
        file=f"{AGENT}/exchange/schedule.py",
        original="if owner.agent == agent or beat.segment.exchange is Exchange.SYNCHRONOUS:",
        planted="if owner.agent == agent:",
        test_id=f"{EXCHANGE_SCHEDULE_TESTS}::test_a_synchronous_step_reads_itself_of_everybody",
        why="`exact` is no longer the picture of one device",
    ),
    PlantedDefect(
        name="versions are sent that nobody reads",
        file=f"{AGENT}/exchange/schedule.py",
        original="destinations=tuple(peer for peer, versions in read_by.items() if (agent, version) in versions),",
        planted="destinations=tuple(read_by),",
        test_id=f"{EXCHANGE_SCHEDULE_TESTS}::test_a_version_that_nobody_reads_is_not_sent",
        why="bytes that were not predicted, and a receive that is never posted: the gang hangs",
    ),
    PlantedDefect(
        name="layers arrive in another order than they are sent",
        file=f"{AGENT}/exchange/session.py",
        original="for layer, spec in enumerate(self._geometry.layers):",
        planted="for layer, spec in reversed(tuple(enumerate(self._geometry.layers))):",
        test_id=f"{EXCHANGE_CONTENTS_TESTS}::test_every_layer_of_a_version_arrives_as_itself",
        why="all messages of a version have one shape, so nothing but the content tells",
    ),
    PlantedDefect(
        name="versions are kept after their last reader",
        file=f"{AGENT}/exchange/step_exchange.py",
        original="keep = self._plan.last_reads[read.source, read.version] > self._plan.step",
        planted="keep = True",
        test_id="tests/unit/test_exchange_session.py::test_a_transport_serves_one_epoch_after_another_even_after_a_cancel",
        why="memory grows by the keys and values of the whole picture at every step",
    ),
    PlantedDefect(
        name="sent bytes are counted in numbers, not bytes",
        file=f"{AGENT}/exchange/wires.py",
        original="self._sent_bytes += message.numel() * message.element_size()",
        planted="self._sent_bytes += message.numel()",
        test_id=f"{EXCHANGE_CONTENTS_TESTS}::test_sent_bytes_are_the_payload_in_bytes",
        why="reports and benchmarks show a quarter of the traffic",
    ),
)

LOOP_DEFECTS = (
    PlantedDefect(
        name="cancel of all but the first member ignored",
        file=f"{AGENT}/step_loop.py",
        original="if any(record[2] for record in records):",
        planted="if records[0][2]:",
        test_id=f"{STEP_LOOP_TESTS}::test_any_members_cancel_ends_the_epoch_at_the_boundary_and_the_boundary_is_kept",
        why="one member leaves at a boundary and the others wait for it for ever",
    ),
    PlantedDefect(
        name="a new plan takes over one boundary early",
        file=f"{AGENT}/step_loop.py",
        original="self._book.beat_at(current.end_step, version=agreed, current_version=version)",
        planted="self._book.beat_at(current.end_step, version=self._book.newest_version, current_version=version)",
        test_id=f"{STEP_LOOP_TESTS}::test_a_version_that_one_member_lacked_one_boundary_before_its_first_step_is_never_followed",
        why="members follow different plans for a beat: wrong versions, or a hang",
    ),
    PlantedDefect(
        name="a new plan takes over one boundary late",
        file=f"{AGENT}/step_loop.py",
        original="agreed = max(agreed, self._agree(state.step))",
        planted="agreed, self._version = max(agreed, self._version), self._agree(state.step)",
        test_id=f"{STEP_LOOP_TESTS}::test_a_version_that_all_hold_takes_over_one_boundary_after_they_agreed",
        why="a device that became slow holds all others up for one more beat",
    ),
    PlantedDefect(
        name="the newest plan of any member is followed",
        file=f"{AGENT}/step_loop.py",
        original="return min(record[1] for record in records)",
        planted="return max(record[1] for record in records)",
        test_id=f"{STEP_LOOP_TESTS}::test_a_version_that_one_member_lacked_one_boundary_before_its_first_step_is_never_followed",
        why="a member is asked for a plan that it does not hold",
    ),
    PlantedDefect(
        name="emulated devices sleep after their messages",
        file=f"{AGENT}/emulation.py",
        original="        if inside_layer:\n            self._charge()\n        yield\n",
        planted="        yield\n",
        test_id="tests/unit/denoiser/test_emulation.py::test_messages_leave_late_and_the_exchange_is_not_slowed",
        why="a slow device would send as early as a fast one: emulated benchmarks flatter the plan",
    ),
)

PLANNER_DEFECTS = (
    PlantedDefect(
        name="strides for a sampler that draws noise",
        file=f"{SCHEDULING}/search.py",
        original="return at_full_rate(policy) if request.image.sampler in request.facts.full_rate_samplers else policy",
        planted="return policy",
        test_id=f"{SEARCH_TESTS}::test_a_sampler_that_makes_every_step_gets_no_strides_in_any_candidate[balanced]",
        why="the slower device cannot make the picture: its first strided step ends the epoch, again and again",
    ),
    PlantedDefect(
        name="strides cost nothing less",
        file=f"{SCHEDULING}/cost.py",
        original="return forward_s_AK / np.array(strides)[:, None]",
        planted="return forward_s_AK",
        test_id="tests/unit/scheduling/test_cost.py::test_a_stride_halves_what_an_agent_costs_a_fine_step",
        why="slow devices get too few rows, or are left out",
    ),
    PlantedDefect(
        name="predicted bytes count every version",
        file=f"{SCHEDULING}/traffic.py",
        original="return {max(k for k in computed if k < step) for step in reading if step > beat.begin_step}",
        planted="return set(computed) if reading else set[int]()",
        test_id="tests/unit/scheduling/test_traffic.py::test_bytes_count_versions_and_boundaries",
        why="plans with strides look as expensive on the wire as plans without",
    ),
    PlantedDefect(
        name="rows may overlap",
        file="protos/polyrhythm/rows.py",
        original="if rows.begin != position:",
        planted="if rows.begin > position:",
        test_id=(
            "tests/unit/protos/test_plan_invariants.py::test_rows_that_do_not_partition_the_image_are_refused[bounds0]"
        ),
        why="two devices compute the same rows, and which of them is seen depends on luck",
    ),
    PlantedDefect(
        name="one row is given to nobody",
        file=f"{SCHEDULING}/partition.py",
        original='taken_K = np.argsort(costs_K, kind="stable")[:row_count]',
        planted='taken_K = np.argsort(costs_K, kind="stable")[: row_count - 1]',
        test_id="tests/unit/scheduling/test_partition.py::test_rows_follow_speed",
        why="plans for a picture that is a row too short",
    ),
    PlantedDefect(
        name="no device works alone",
        file=f"{SCHEDULING}/search.py",
        original="for size in range(1, len(agents) + 1):\n            yield from combinations(agents, size)",
        planted="for size in range(2, len(agents) + 1):\n            yield from combinations(agents, size)",
        test_id=f"{SEARCH_TESTS}::test_the_fastest_device_alone_is_always_shown",
        why="a very slow second device makes every picture slower than without it",
    ),
    PlantedDefect(
        name="a resumed picture warms nothing up",
        file=f"{SCHEDULING}/quality.py",
        original="RESUME_WARMUP_STEPS = 1",
        planted="RESUME_WARMUP_STEPS = 0",
        test_id="tests/unit/scheduling/test_quality.py::test_a_resumed_epoch_needs_one_synchronous_step_beyond_the_warm_up",
        why="after a loss the survivors would read activations that nobody has",
    ),
)

QUEUE_DEFECTS = (
    PlantedDefect(
        name="last come, first served",
        file=f"{SCHEDULING}/admission.py",
        original="queue=(*turn.state.queue, applicant.job)",
        planted="queue=(*turn.state.queue[:1], applicant.job, *turn.state.queue[1:])",
        test_id=f"{QUEUE_TESTS}::test_jobs_run_in_order_and_are_told_their_place",
        why="whoever waits longest waits for ever",
    ),
    PlantedDefect(
        name="the next picture starts before a cancelled one has stopped",
        file=f"{SCHEDULING}/jobs.py",
        original="if not state.queue or state.epochs:",
        planted="if not state.queue:",
        test_id=f"{QUEUE_TESTS}::test_cancel_while_running_stops_at_a_boundary_and_the_next_job_follows",
        why="devices that still compute for nobody are planned as if they were free",
    ),
    PlantedDefect(
        name="resume from the highest boundary",
        file=f"{SCHEDULING}/recovery.py",
        original="return lowest_newest if lowest_newest in common else max(common, default=0)",
        planted="return max(max(boundaries) for boundaries in usable)",
        test_id=f"{RECOVERY_TESTS}::test_the_lowest_newest_boundary_that_all_hold[held1-8]",
        why="a survivor is asked for a state that it has not reached",
    ),
    PlantedDefect(
        name="a broken gang is used again",
        file=f"{SCHEDULING}/recovery.py",
        original="if not all(run.ended is not None and run.ended.gang_intact for run in epoch.members.values()):",
        planted="if not all(run.ended is not None for run in epoch.members.values()):",
        test_id=f"{RECOVERY_TESTS}::test_a_failure_without_a_loss_is_tried_again_with_a_new_gang",
        why="sockets that were shut down, with messages of the last epoch in them",
    ),
)

FAILURE_DEFECTS = (
    PlantedDefect(
        name="silent agents are believed in for a minute",
        file=f"{SCHEDULING}/agents.py",
        original="if silent_s > turn.limits.heartbeat_timeout_s:",
        planted="if silent_s > 60.0:",
        test_id="tests/unit/coordinator/test_agents.py::test_a_silent_agent_is_lost_after_the_heartbeat_timeout",
        why="a picture whose device lost its power stands still instead of going on with the others",
    ),
    PlantedDefect(
        name="a worker that ignores an abort lives on",
        file=f"{AGENT}/oversight/deadlines.py",
        original="if now_s <= run.leave_by_s:",
        planted="if now_s <= run.leave_by_s + 600.0:",
        test_id="tests/unit/agent/test_oversight.py::test_an_aborted_worker_that_does_not_obey_is_killed",
        why="a hung collective keeps the device out of every further picture",
    ),
    PlantedDefect(
        name="a text that a model does not take is offered to every agent",
        file=f"{SCHEDULING}/admission.py",
        original="if applicant is not None and violations:",
        planted="if applicant is not None and not violations:",
        test_id=(
            "tests/unit/coordinator/test_admission.py::"
            "test_texts_that_the_model_does_not_take_are_refused_by_the_first_agent[unicorn--fields0]"
        ),
        why="the user is told that no agent could count, not what is wrong with the prompt",
    ),
    PlantedDefect(
        name="too long a prompt is accepted",
        file=f"{SCHEDULING}/admission.py",
        original="if count > facts.token_limit",
        planted="if count > 1000 * facts.token_limit",
        test_id=(
            "tests/unit/coordinator/test_admission.py::"
            "test_bad_input_names_its_field_and_is_not_queued[request_1-prompt]"
        ),
        why="the fault appears on the agents, after the wait in the queue",
    ),
)

REPLAN_DEFECTS = (
    PlantedDefect(
        name="a newer plan takes over in its middle",
        file=f"{AGENT}/plan_book.py",
        original="self._versions[version].begin_step == step",
        planted="self._versions[version].begin_step <= step",
        test_id=f"{PLAN_BOOK_TESTS}::test_newer_version_takes_over_at_its_first_step_or_never",
        why="rows move without a synchronous step, and the report tells of plans that nobody followed",
    ),
    PlantedDefect(
        name="one slow beat is a change of speed",
        file=f"{SCHEDULING}/replan_rule.py",
        original="if len(self.last) < BEATS:",
        planted="if not self.last:",
        test_id=f"{REPLANNING_TESTS}::test_one_slow_beat_is_no_reason",
        why="every hiccup of a machine costs two plans: one away from it and one back",
    ),
    PlantedDefect(
        name="speed by CPU time",
        file=f"{SCHEDULING}/takeover.py",
        original="seen(report.wall_s - report.wait_s, assumed_s)",
        planted="seen(report.busy_s, assumed_s)",
        test_id=f"{REPLANNING_TESTS}::test_a_member_at_half_its_speed_gives_rows_away",
        why="another process on the core slows the picture down and nobody sees it",
    ),
    PlantedDefect(
        name="a takeover one boundary too early",
        file=f"{SCHEDULING}/epochs.py",
        original="course.beats_within(boundary, unseen_s) - 1",
        planted="course.beats_within(boundary, unseen_s) - 2",
        test_id=f"{REPLANNING_TESTS}::test_the_boundary_of_a_takeover_allows_for_the_age_of_reports",
        why="plans come too late for the members to agree on them: the fleet is re-planned and never changes",
    ),
)

WIRE_DEFECTS = (
    PlantedDefect(
        name="a field is not encoded",
        file=f"{CODEC}/session_parts.py",
        original="        sent_bytes=report.sent_bytes,\n",
        planted="",
        test_id="tests/property/test_codec.py::test_inverse_of_every_union_member[BeatDone]",
        why="proto3 says nothing: the report counts no traffic at all",
    ),
    PlantedDefect(
        name="an unknown enum value becomes a default",
        file=f"{CODEC}/fields.py",
        original="member = self._members.get(number)",
        planted="member = self._members.get(number, next(iter(self._kind)))",
        test_id=f"{REFUSAL_TESTS}::test_a_message_that_means_nothing_names_its_field[unknown exchange]",
        why="a newer coordinator's new kind of segment is run as the oldest kind, silently",
    ),
)

DEFECTS = (
    *DENOISER_DEFECTS,
    *PATCH_DEFECTS,
    *BOUNDARY_DEFECTS,
    *EXCHANGE_DEFECTS,
    *LOOP_DEFECTS,
    *PLANNER_DEFECTS,
    *QUEUE_DEFECTS,
    *FAILURE_DEFECTS,
    *REPLAN_DEFECTS,
    *WIRE_DEFECTS,
)
