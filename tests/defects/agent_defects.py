"""Faults of what an agent computes and sends, but for layers over patches; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

AGENT = "gpu_agent/polyrhythm_agent"
GANG_PICTURES = "tests/integration/test_gang_pictures.py"
FAMILY_EQUALITY = "tests/integration/test_family_equality.py"
WEIGHTS = "diffusion_pytorch_model"
STEP_LOOP_TESTS = "tests/unit/agent/epoch/test_step_loop.py"
EXCHANGE_SCHEDULE_TESTS = "tests/unit/agent/exchange/test_schedule.py"
REPEATED_STEPS = "tests/integration/test_repeated_steps.py"
OPERATORS = "tests/integration/test_operators.py"
EXCHANGE_CONTENTS_TESTS = "tests/unit/agent/exchange/test_contents.py"

DENOISER_DEFECTS = (
    PlantedDefect(
        name="the pooled text is the last window's",
        file=f"{AGENT}/denoiser/text/clip.py",
        original="dim=1), parts[0][1]",
        planted="dim=1), parts[-1][1]",
        test_id=(
            "tests/integration/test_long_texts.py::"
            "test_windows_follow_one_another_and_the_first_one_is_the_pooled_text[sdxl]"
        ),
        why="a long prompt is painted for what stands at its end",
    ),
    PlantedDefect(
        name="the fingerprint passes over weights behind links",
        file=f"{AGENT}/denoiser/files/folder.py",
        original="for number, file in enumerate(files):",
        planted="for number, file in enumerate(file for file in files if path == path.resolve()):",
        test_id="tests/unit/agent/denoiser/test_folder.py::test_what_is_loaded_shows[weights-behind links]",
        why="two agents with different UNets behind links share a picture: a seam between two models",
    ),
    PlantedDefect(
        name="of a file and an index of shards every library takes the file",
        file=f"{AGENT}/denoiser/files/weight_files.py",
        original="preferred = (index, single) if library == DIFFUSERS else (single, index)",
        planted="preferred = (single, index)",
        test_id=(
            "tests/unit/agent/denoiser/test_folder.py::test_of_a_file_and_an_index_that_is_taken_which_the_library_takes"
            f"[diffusers-{WEIGHTS}-shard.safetensors-bare]"
        ),
        why="two agents with different UNets in their shards share a picture, since equal files beside them are hashed",
    ),
    PlantedDefect(
        name="weights of other names are found out at the first picture",
        file=f"{AGENT}/denoiser/files/diffusers_parts.py",
        original='read(torch.device("cpu"))',
        planted="pass",
        test_id="tests/integration/test_loading_checks.py::test_weights_under_other_names_are_refused",
        why="an agent says that it is ready, and its worker ends in every picture that it decodes",
    ),
    PlantedDefect(
        name="a text encoder of another width is found out at the first picture",
        file=f"{AGENT}/denoiser/files/fitting.py",
        original="if width == taken:",
        planted="if width:",
        test_id="tests/integration/test_loading_checks.py::"
        "test_a_text_encoder_of_another_width_than_the_denoiser_is_refused[pixart]",
        why="an agent says that it is ready, and fails in every picture that it is given",
    ),
    PlantedDefect(
        name="every family's latents are scaled as SDXL's",
        file=f"{AGENT}/denoiser/decoding.py",
        original="if not by_channel or mean is None",
        planted="if mean is None",
        test_id="tests/integration/test_pipeline_equality.py::"
        "test_latents_are_scaled_as_the_pipeline_scales_them[pixart]",
        why="an exact picture has other colours than the pipeline's",
    ),
    PlantedDefect(
        name="position embedding one row too high",
        file=f"{AGENT}/denoiser/families/token_run.py",
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
        test_id=f"{FAMILY_EQUALITY}::test_one_device_is_diffusers[pixart-16-12-ddim-float32]",
        why="the picture flees the prompt and follows the negative one, on any number of devices alike",
    ),
    PlantedDefect(
        name="the null class is the last class",
        file=f"{AGENT}/denoiser/families/dit.py",
        original="[labels.count, labels.number(image.prompt)]",
        planted="[labels.count - 1, labels.number(image.prompt)]",
        test_id=f"{FAMILY_EQUALITY}::test_one_device_is_diffusers[dit-16-12-ddim-float32]",
        why="every picture flees one class rather than no class at all",
    ),
    PlantedDefect(
        name="text mask ignored",
        file=f"{AGENT}/denoiser/layers/attention.py",
        original="text.key_BhLd, text.value_BhLd, text.bias_Bh1L)",
        planted="text.key_BhLd, text.value_BhLd, None)",
        test_id=f"{FAMILY_EQUALITY}::test_one_device_is_diffusers[pixart-24-12-dpmpp-2m-float32]",
        why="padding counts as text: short prompts are washed out",
    ),
    PlantedDefect(
        name="attention computes its products itself",
        file=f"{AGENT}/denoiser/layers/attention.py",
        original="attn.set_processor(PatchSelfAttention(layer, attn.get_submodule(PRODUCTS)))",
        planted="attn.set_processor(PatchSelfAttention(layer, torch.nn.functional.scaled_dot_product_attention))",
        test_id=f"{OPERATORS}::test_every_product_goes_through_the_operators[dit-1]",
        why="what is quantised, checked or disturbed leaves out a third of the work, and nobody is told",
    ),
    PlantedDefect(
        name="noise of its own for every agent",
        file=f"{AGENT}/denoiser/sampling/noise.py",
        original="manual_seed(self._seed)",
        planted="manual_seed(self._seed + id(self))",
        test_id=f"{GANG_PICTURES}::test_exact_is_the_picture_of_plain_diffusers[pixart-2-16-float32-ddim]",
        why="a seed means another picture on each split, and the same one never comes back",
    ),
    PlantedDefect(
        name="ddim always ends at the clean picture",
        file=f"{AGENT}/denoiser/sampling/grid.py",
        original="float(scheduler.final_alpha_cumprod)",
        planted="1.0",
        test_id="tests/unit/agent/denoiser/test_sampling.py::test_ddim_is_diffusers[stable diffusion-24]",
        why="models whose schedule ends at the first trained level get a last step that they were not trained for",
    ),
    PlantedDefect(
        name="euler begins with noise of size one",
        file=f"{AGENT}/denoiser/sampling/grid.py",
        original='initial_scale=_initial_scale(scheduler.config["timestep_spacing"], sigmas[0]),',
        planted="initial_scale=1.0,",
        test_id=f"{FAMILY_EQUALITY}::test_euler_in_all_its_forms[karras-dtype0]",
        why="a little too much noise at the start: other colours than diffusers paints with the same seed",
    ),
    PlantedDefect(
        name="dynamic shift by the tokens of a patch",
        file=f"{AGENT}/denoiser/families/token_run.py",
        original="image_tokens=geometry.row_count * self._tokens_per_row,",
        planted="image_tokens=geometry.row_count // 2 * self._tokens_per_row,",
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
        file=f"{AGENT}/denoiser/sampling/noise.py",
        original="return self._draw(1 + step)",
        planted="return self._draw(step)",
        test_id="tests/unit/agent/denoiser/test_euler.py::test_ancestral_noise_is_bit_by_bit_what_diffusers_draws",
        why="noise that is not independent of the picture: washed out at the start, and never diffusers' picture",
    ),
    PlantedDefect(
        name="solver's lambda is one step older than its picture",
        file=f"{AGENT}/denoiser/sampling/sampling.py",
        original="self.grid.departures[k].half_log_snr",
        planted="self.grid.departures[max(k - 1, 0)].half_log_snr",
        test_id="tests/unit/agent/denoiser/test_sampling.py::test_dpm_solver_is_diffusers[defaults-24]",
        why="second-order steps extrapolate over the wrong distance: soft, slightly wrong pictures",
    ),
)

BOUNDARY_DEFECTS = (
    PlantedDefect(
        name="history counts from the first step of a beat",
        file=f"{AGENT}/epoch/boundary_state.py",
        original="after[row] = active[-1]",
        planted="after[row] = active[0]",
        test_id="tests/unit/agent/epoch/test_boundary_state.py::test_history_is_each_owners_last_active_step",
        why="after every boundary the solver believes that rows of others were predicted earlier than they were",
    ),
    PlantedDefect(
        name="history stays behind when rows move",
        file=f"{AGENT}/epoch/step_loop.py",
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
        file=f"{AGENT}/epoch/boundary_state.py",
        original="HELD_BOUNDARIES = 2",
        planted="HELD_BOUNDARIES = 1",
        test_id="tests/unit/agent/epoch/test_boundary_state.py::test_memory_keeps_the_last_two_boundaries_of_a_job",
        why="survivors that stand one boundary apart have none in common: the picture begins again",
    ),
)

EXCHANGE_DEFECTS = (
    PlantedDefect(
        name="remote keys and values dropped",
        file=f"{AGENT}/exchange/step_exchange.py",
        original="return self._taken(read, layer)[:, :, tokens].to(own_KBND.dtype)",
        planted="return torch.zeros_like(self._taken(read, layer)[:, :, tokens], dtype=own_KBND.dtype)",
        test_id=f"{GANG_PICTURES}::test_exact_is_the_picture_of_plain_diffusers[pixart-2-24-float64-dpmpp-2m]",
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
        original="for layer, spec in self._geometry.layers.items():",
        planted="for layer, spec in reversed(tuple(self._geometry.layers.items())):",
        test_id=f"{EXCHANGE_CONTENTS_TESTS}::test_every_layer_of_a_version_arrives_as_itself",
        why="all messages of a version have one shape, so nothing but the content tells",
    ),
    PlantedDefect(
        name="versions are kept after their last reader",
        file=f"{AGENT}/exchange/step_exchange.py",
        original="if self._plan.last_reads[read.source, read.version] <= self._plan.step:",
        planted="if False:",
        test_id="tests/unit/agent/exchange/test_session.py::test_a_transport_serves_one_epoch_after_another_even_after_a_cancel",
        why="memory grows by the keys and values of the whole picture at every step",
    ),
    PlantedDefect(
        name="a step that is run again is sent again",
        file=f"{AGENT}/exchange/step_exchange.py",
        original="is_first = self._layers_done > self._layers_published",
        planted="is_first = True",
        test_id=f"{REPEATED_STEPS}::test_a_step_that_is_rejected_twice_leaves_no_trace[pixart]",
        why="every later message of the pair is taken for the one before it",
    ),
    PlantedDefect(
        name="a step that is run again compares its moments with themselves",
        file=f"{AGENT}/exchange/step_exchange.py",
        original="before = self._moments_before[layer]",
        planted="before = self._moments_before.pop(layer, plan.own_moments[layer])",
        test_id=f"{REPEATED_STEPS}::test_a_step_that_is_rejected_twice_leaves_no_trace[sd]",
        why="contrast of a patch stands still in every step that was repeated",
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
        file=f"{AGENT}/epoch/step_loop.py",
        original="if any(record.cancelled for record in records):",
        planted="if records[0].cancelled:",
        test_id=f"{STEP_LOOP_TESTS}::test_any_members_cancel_ends_the_epoch_at_the_boundary_and_the_boundary_is_kept",
        why="one member leaves at a boundary and the others wait for it for ever",
    ),
    PlantedDefect(
        name="a step that is rejected is advanced all the same",
        file=f"{AGENT}/epoch/step_loop.py",
        original="if self._judge(step, prediction_BCHW) is StepVerdict.ACCEPTED:",
        planted="if self._judge(step, prediction_BCHW) in StepVerdict:",
        test_id=f"{STEP_LOOP_TESTS}::test_a_step_that_is_rejected_is_run_again_from_the_same_latent_and_advanced_once",
        why="a forward that was found to be wrong makes the picture",
    ),
    PlantedDefect(
        name="a new plan takes over one boundary early",
        file=f"{AGENT}/epoch/step_loop.py",
        original="self._book.beat_at(current.end_step, version=agreed, current_version=version)",
        planted="self._book.beat_at(current.end_step, version=self._book.newest_version, current_version=version)",
        test_id=f"{STEP_LOOP_TESTS}::test_a_version_that_one_member_lacked_one_boundary_before_its_first_step_is_never_followed",
        why="members follow different plans for a beat: wrong versions, or a hang",
    ),
    PlantedDefect(
        name="a new plan takes over one boundary late",
        file=f"{AGENT}/epoch/step_loop.py",
        original="agreed = max(agreed, self._agree(state.step))",
        planted="agreed, self._version = max(agreed, self._version), self._agree(state.step)",
        test_id=f"{STEP_LOOP_TESTS}::test_a_version_that_all_hold_takes_over_one_boundary_after_they_agreed",
        why="a device that became slow holds all others up for one more beat",
    ),
    PlantedDefect(
        name="the newest plan of any member is followed",
        file=f"{AGENT}/epoch/step_loop.py",
        original="return min(record.newest_version for record in records)",
        planted="return max(record.newest_version for record in records)",
        test_id=f"{STEP_LOOP_TESTS}::test_a_version_that_one_member_lacked_one_boundary_before_its_first_step_is_never_followed",
        why="a member is asked for a plan that it does not hold",
    ),
    PlantedDefect(
        name="emulated devices sleep after their messages",
        file=f"{AGENT}/measuring/emulated_speed.py",
        original="        if inside_block:\n            self._charge()\n        yield\n",
        planted="        yield\n",
        test_id="tests/unit/agent/measuring/test_emulated_speed.py::test_messages_leave_late_and_the_exchange_is_not_slowed",
        why="a slow device would send as early as a fast one: emulated benchmarks flatter the plan",
    ),
    PlantedDefect(
        name="a block that was brought in stays",
        file=f"{AGENT}/denoiser/offload.py",
        original="                if not self._users[parameter]:\n                    self._let_go(parameter)\n",
        planted="",
        test_id="tests/integration/test_offload.py::test_between_forwards_the_blocks_weigh_nothing[pixart]",
        why="after one forward an offloaded device holds the whole denoiser, which does not fit on it",
    ),
    PlantedDefect(
        name="the text encoder is never let go",
        file=f"{AGENT}/epoch/epoch_parts.py",
        original="            self._context.parts.make_room(self._need_bytes)\n",
        planted="            pass\n",
        test_id="tests/integration/test_epoch_memory.py::test_where_memory_is_short_parts_take_turns",
        why="a device that could denoise after it has encoded runs out of memory",
    ),
)
