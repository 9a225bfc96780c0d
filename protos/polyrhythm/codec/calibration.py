"""Calibrations, to and from ``polyrhythm.v1``. Their figures have the bounds of ``model.calibration``."""

from __future__ import annotations

from polyrhythm.codec.bounds import SIDE_PX_MAX, count, few, label
from polyrhythm.codec.fields import FieldError, invariants
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.model.calibration import DISTURBANCES_MAX, KINDS, PICTURES_MAX, Calibration, FigureError
from polyrhythm.v1 import fleet_pb2


def calibration_to_proto(calibration: Calibration) -> fleet_pb2.Calibration:
    """Encodes what disturbances cost on a model."""
    return fleet_pb2.Calibration(
        sampler=calibration.sampler,
        steps=calibration.steps,
        latent_range=calibration.latent_range,
        stale_begin_steps=calibration.stale_begin_steps,
        merge_steps=calibration.merge_steps,
        following_steps=calibration.following_steps,
        products=calibration.products,
        row_weights=calibration.row_weights,
        saturation_mse=calibration.saturation_mse,
        unequal_begin_steps=calibration.unequal_begin_steps,
        touchiness=calibration.touchiness,
        seam_power=calibration.seam_power,
        width_px=calibration.width_px,
        height_px=calibration.height_px,
        guidance=calibration.guidance,
    )


def calibration_from_proto(proto: fleet_pb2.Calibration, path: str = "calibration") -> Calibration:
    """Decodes what disturbances cost on a model.

    Raises:
        WireError: the numbers do not belong together, or one of them is out of bounds.
    """
    windows = len(proto.stale_begin_steps) + len(proto.unequal_begin_steps)
    disturbances = windows + len(proto.merge_steps) + len(proto.following_steps)
    count(disturbances, f"{path}.products", DISTURBANCES_MAX)
    few(proto.products, f"{path}.products", disturbances**2)
    few(proto.row_weights, f"{path}.row_weights", SIDE_PX_MAX)
    few(proto.touchiness, f"{path}.touchiness", KINDS * PICTURES_MAX)
    with invariants(path):
        try:
            return Calibration(
                sampler=label(proto.sampler, f"{path}.sampler"),
                steps=count(proto.steps, f"{path}.steps", STEPS_MAX),
                latent_range=proto.latent_range,
                stale_begin_steps=tuple(proto.stale_begin_steps),
                merge_steps=tuple(proto.merge_steps),
                following_steps=tuple(proto.following_steps),
                products=tuple(proto.products),
                row_weights=tuple(proto.row_weights),
                saturation_mse=proto.saturation_mse,
                unequal_begin_steps=tuple(proto.unequal_begin_steps),
                touchiness=tuple(proto.touchiness),
                seam_power=proto.seam_power,
                width_px=count(proto.width_px, f"{path}.width_px", SIDE_PX_MAX),
                height_px=count(proto.height_px, f"{path}.height_px", SIDE_PX_MAX),
                guidance=proto.guidance,
            )
        except FigureError as error:
            raise FieldError(f"{path}.{error.field}", error.description) from error
