"""Faults of how a model's scheduler is read and of what samplers make of it; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

DENOISER = "gpu_agent/polyrhythm_agent/denoiser"
PIPELINES = "tests/integration/test_pipeline_equality.py"
SCHEDULES = "tests/integration/test_pipeline_schedules.py"
MODEL_FOLDERS = "tests/integration/test_pipeline_folders.py"

SAMPLER_DEFECTS = (
    PlantedDefect(
        name="old step offsets are taken as they are written",
        file=f"{DENOISER}/files/folder_contents.py",
        original='{"steps_offset": 1, "clip_sample": False}',
        planted='{"clip_sample": False}',
        test_id=f"{PIPELINES}::test_exact_is_the_pipelines_picture[sd clipping ddim]",
        why="every step of an old Stable Diffusion model is one timestep off, and the last one goes nowhere",
    ),
    PlantedDefect(
        name="old files clip latents",
        file=f"{DENOISER}/files/folder_contents.py",
        original='{"steps_offset": 1, "clip_sample": False}',
        planted='{"steps_offset": 1}',
        test_id=f"{PIPELINES}::test_exact_is_the_pipelines_picture[sd first ddim]",
        why="pale pictures of old models: their files leave out an option whose default is meant for pixels",
    ),
    PlantedDefect(
        name="the file says which scheduler it is",
        file=f"{DENOISER}/files/folder_contents.py",
        original="named = {} if indexed_class is None else {CLASS_NAME: indexed_class}",
        planted="named: dict[str, Any] = {}",
        test_id=f"{MODEL_FOLDERS}::test_the_index_names_the_scheduler_whatever_its_file_says[EulerDiscreteScheduler]",
        why="a model whose index was changed to another scheduler is sampled with the one that was there before",
    ),
    PlantedDefect(
        name="models that are shown data of deviation one half are shown it of deviation one",
        file=f"{DENOISER}/sampling/grid.py",
        original="departures = [_level_beside_data(value, data) for value in visited]",
        planted="departures = [_level_beside_data(value, 1.0) for value in visited]",
        test_id=f"{PIPELINES}::test_exact_is_the_pipelines_picture[sdxl playground 2.5]",
        why="pictures of EDM models lose their contrast in the last steps, where the noise is small",
    ),
    PlantedDefect(
        name="latent consistency keeps the noise that it had",
        file=f"{DENOISER}/sampling/updates.py",
        original="return target.alpha * clean_BCHW + target.sigma * fresh_noise_BCHW",
        planted="return target.alpha * clean_BCHW + 0.0 * fresh_noise_BCHW",
        test_id=f"{PIPELINES}::test_exact_is_the_pipelines_picture[sdxl lcm]",
        why="smooth pictures: the model is shown too little noise at every step but the first",
    ),
    PlantedDefect(
        name="a model is told a guidance that is one too high",
        file=f"{DENOISER}/text/guidance_embedding.py",
        original="guidance - 1.0",
        planted="guidance",
        test_id=f"{PIPELINES}::test_a_model_that_is_told_the_guidance_is_its_pipeline[4-8.5]",
        why="harder contrast than the pipeline of a latent consistency model paints with the same guidance",
    ),
    PlantedDefect(
        name="trajectory consistency ends at no noise",
        file=f"{DENOISER}/sampling/grid.py",
        original="end = CLEAN if ends_clean else _level_from_cumulative(cumulative[0])",
        planted="end = CLEAN",
        test_id=f"{SCHEDULES}::test_every_familys_schedule_is_its_pipelines[sdxl tcd]",
        why="a little more contrast than diffusers paints with the same seed",
    ),
    PlantedDefect(
        name="marks of a single file are passed over",
        file=f"{DENOISER}/files/checkpoint.py",
        original="for name, content in marked_configs(header, weights, configs).items():",
        planted="for name, content in (marked_configs(header, weights, configs) and {}).items():",
        test_id="tests/integration/test_checkpoint_marks.py::test_a_marked_file_is_sampled_as_it_says[velocity-ddim]",
        why="a model that predicts velocities is sampled as if they were noise: colourful mist",
    ),
    PlantedDefect(
        name="the guidance is not told to a model that asks for it",
        file=f"{DENOISER}/families/unet_run.py",
        original="return None if width is None else embed_guidance(",
        planted="return None if width is None else 0 * embed_guidance(",
        test_id="tests/integration/test_unet_pictures.py::test_a_unet_that_is_told_the_guidance_runs_once_a_step[8.5]",
        why="every guidance is the same picture, and none is that of the model's authors",
    ),
    PlantedDefect(
        name="old models paint at a quarter of their area",
        file=f"{DENOISER}/families/unet_facts.py",
        original="height = width = max(size, family.least_side_of_old)",
        planted="height = width = size",
        test_id=f"{MODEL_FOLDERS}::test_old_files_mean_the_size_that_the_pipeline_takes[0.6.0-32-512]",
        why="256 px unless a user asks for 512, which is all that the model has learned",
    ),
)
