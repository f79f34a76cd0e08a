"""Pictures of a robot: by MuJoCo's renderer where OpenGL works, else by Pillow."""

from __future__ import annotations

import os
import sys

import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl.envs.drawing import ROOT, draw_robot, view_of, write_caption

WIDTH, HEIGHT = 480, 240  # pixels
ELEVATIONS = {1: -60.0, 2: -12.0}  # degrees, by the axis that points up
_has_failed = False  # MuJoCo aborts the process if a second renderer is made after one has failed


class Camera:
    """A camera that follows a robot.

    Which OpenGL MuJoCo uses is told by the environment variable ``MUJOCO_GL`` before it is imported, e.g. ``egl``.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Take a model and a state, with all bodies in place, whose size the view is made for."""
        self.model, self.view = model, view_of(model, data)
        self.free = mujoco.MjvCamera()
        self.free.azimuth, self.free.elevation = 90.0, ELEVATIONS[self.view.up]
        self.free.distance = 0.62 * self.view.width  # MuJoCo's field of view is 45 degrees high
        self.renderer = open_renderer(model)

    def picture(self, data: mujoco.MjData, caption: str) -> NDArray[np.uint8]:
        """Return a picture [height, width, 3] of a state, with all bodies in place."""
        if self.renderer is None:
            return draw_robot(self.model, data, self.view, caption, WIDTH, HEIGHT)
        mujoco.mj_camlight(self.model, data)
        self.free.lookat[:] = (*data.xpos[ROOT, :2], self.view.middle)
        self.renderer.update_scene(data, self.free)
        return write_caption(self.renderer.render(), caption)

    def close(self) -> None:
        """Free the renderer."""
        if self.renderer is not None:
            self.renderer.close()


def open_renderer(model: mujoco.MjModel) -> mujoco.Renderer | None:
    """Return MuJoCo's renderer, or None if there is no OpenGL."""
    global _has_failed
    if _has_failed or not may_have_opengl():
        return None
    limits = model.vis.global_
    limits.offwidth, limits.offheight = max(limits.offwidth, WIDTH), max(limits.offheight, HEIGHT)
    try:
        return mujoco.Renderer(model, HEIGHT, WIDTH)
    except Exception:  # EGL, OSMesa and GLFW have errors of their own
        _has_failed = True
        return None


def may_have_opengl() -> bool:
    """Return whether OpenGL is worth a try: GLFW, MuJoCo's choice on Linux if none is named, needs a display."""
    if sys.platform != "linux" or os.environ.get("MUJOCO_GL", "").lower().strip() in ("egl", "osmesa"):
        return True
    return "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
