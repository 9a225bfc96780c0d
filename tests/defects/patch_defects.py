"""Known faults of convolutions and normalisations over patches; see ``catalogue``."""

from __future__ import annotations

from tests.defects.planted import PlantedDefect

PATCH_LAYERS = "gpu_agent/polyrhythm_agent/denoiser/layers/convolution.py"
PATCH_LAYER_TESTS = "tests/unit/agent/denoiser/test_convolution.py"
UNET_PICTURES = "tests/integration/test_unet_pictures.py"

PATCH_DEFECTS = (
    PlantedDefect(
        name="halo of zeros",
        file=PATCH_LAYERS,
        original="pieces.append(below)",
        planted="pieces.append(torch.zeros_like(below))",
        test_id=f"{PATCH_LAYER_TESTS}::test_a_convolution_over_patches_is_that_of_the_whole_map[16-1]",
        why="a dark line along every seam, as if the picture ended there",
    ),
    PlantedDefect(
        name="strided convolution reads a row too many",
        file=PATCH_LAYERS,
        original="conv.kernel_size[0] - conv.stride[0] - self.rows_above",
        planted="conv.kernel_size[0] - 1 - self.rows_above",
        test_id=f"{PATCH_LAYER_TESTS}::test_a_convolution_over_patches_is_that_of_the_whole_map[16-2]",
        why="bytes that nobody needs at every level, and a row too many below a seam",
    ),
    PlantedDefect(
        name="group normalisation of the own rows alone",
        file=PATCH_LAYERS,
        original="parts = now.exchange.collect(self.layer, own_MBG)",
        planted="parts = now.exchange.collect(self.layer, own_MBG)[:0]",
        test_id=f"{PATCH_LAYER_TESTS}::test_a_synchronous_normalisation_is_that_of_the_whole_map",
        why="every patch has a contrast of its own",
    ),
    PlantedDefect(
        name="parts of the picture weigh alike whatever their height",
        file=PATCH_LAYERS,
        original="heights_P = [cells.stop - cells.start for cells in cells_P]",
        planted="heights_P = [1 for _ in cells_P]",
        test_id=f"{PATCH_LAYER_TESTS}::test_merged_moments_are_those_of_the_whole_map",
        why="unequal patches, which is what this project is about, get a wrong contrast",
    ),
    PlantedDefect(
        name="displaced normalisation stays with the old moments",
        file=PATCH_LAYERS,
        original="mean_BG = stale_mean_BG + own_mean_BG - before[0]",
        planted="mean_BG = stale_mean_BG",
        test_id=f"{PATCH_LAYER_TESTS}::test_a_displaced_normalisation_moves_with_the_own_rows",
        why="contrast lags behind by a step, most where steps are large",
    ),
    PlantedDefect(
        name="a variance below zero is used",
        file=PATCH_LAYERS,
        original="torch.maximum(variance_BG, CORRECTED_SHARE_MIN * latest_variance_BG)",
        planted="variance_BG",
        test_id=f"{PATCH_LAYER_TESTS}::test_a_corrected_variance_keeps_half_of_that_of_the_newest_moments[below zero]",
        why="the root of a negative number: a black picture",
    ),
    PlantedDefect(
        name="rim of the latent at the neighbour's noise level",
        file=PATCH_LAYERS,
        original="x_1CHW = now.carry(part.tensor, part.step)",
        planted="x_1CHW = part.tensor[:, : part.tensor.shape[1] // 2]",
        test_id=f"{PATCH_LAYER_TESTS}::test_the_rim_of_the_latent_is_carried_to_the_own_step",
        why="a noisier line along every seam, twice as noisy at stride 2",
    ),
    PlantedDefect(
        name="cells of a lower level counted down at a short end",
        file="gpu_agent/polyrhythm_agent/ports/layers.py",
        original="-(-latent.stop // layer.shrink)",
        planted="latent.stop // layer.shrink",
        test_id=f"{UNET_PICTURES}::test_any_multiple_of_8_pixels_will_do[sd-1080-40-counts1]",
        why="heights that are no multiple of the row unit, 1080 among them, fail at the lower levels",
    ),
    PlantedDefect(
        name="rows may move into a displaced step",
        file="gpu_agent/polyrhythm_agent/exchange/session.py",
        original="if moved and self._geometry.resync_after_move:",
        planted="if moved and False:",
        test_id=f"{UNET_PICTURES}::test_rows_that_move_into_a_displaced_step_are_refused",
        why="rims and moments of other rows are taken for those of the present ones",
    ),
)
