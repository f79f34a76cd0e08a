"""Pictures of episodes, drawn with Pillow: they need no OpenGL and no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.envs.family import Array

if TYPE_CHECKING:
    import mujoco

OVERSAMPLING = 3  # drawn larger and then reduced, which smooths the edges
SKY, GROUND, TILE, EDGE, INK = "#eef3f8", "#8a9ba8", "#7b8c99", "#64747f", "#22303a"
BODY, FAR, JOINT, ACCENT = "#d9822b", "#b86a1c", "#fbe3c8", "#2b6cb0"


def draw_side_view(
    model: mujoco.MjModel, data: mujoco.MjData, caption: str, width: int = 480, height: int = 240
) -> NDArray[np.uint8]:
    """A planar robot's capsules in the x-z plane, followed by the camera; the ground's tiles are 1 m wide."""
    scale = OVERSAMPLING * width / 3.2  # pixels per metre: 3.2 m are in view
    image, pen = _canvas(width, height, SKY)
    torso = 1  # the first body after the world
    centre = float(data.xpos[torso, 0])
    floor = 0.8 * OVERSAMPLING * height

    def pixel(x: float, z: float) -> tuple[float, float]:
        return (x - centre) * scale + image.width / 2, floor - z * scale

    _ground(pen, image, floor, centre, scale)
    parts = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom]]  # 0 is the world
    # The torso comes last, in front of the legs.
    legs_first = sorted(parts, key=lambda geom: bool(model.geom_bodyid[geom] == torso))
    capsules = [(*_capsule_ends(model, data, geom), model.geom_bodyid[geom] == torso) for geom in legs_first]
    for ends, radius, _ in capsules:
        left, right = sorted(float(end[0]) for end in ends)
        (start, _), (stop, _) = pixel(left - radius, 0), pixel(right + radius, 0)
        pen.ellipse([start, floor + 0.01 * image.height, stop, floor + 0.04 * image.height], fill=EDGE)
    for ends, radius, is_torso in capsules:
        corners = [pixel(float(end[0]), float(end[2])) for end in ends]
        _capsule(pen, corners, radius * scale, BODY if is_torso else FAR)
    pen.text((0.02 * image.width, 0.04 * image.height), caption, fill=INK, font=_font(15))
    return _reduced(image, width, height)


def _ground(pen: ImageDraw.ImageDraw, image: Image.Image, floor: float, centre: float, scale: float) -> None:
    """Two rows of tiles like a chessboard, with the metres written below their edges."""
    middle = (floor + image.height) / 2
    pen.rectangle([0, floor, image.width, image.height], fill=GROUND)
    for tile in range(int(np.floor(centre)) - 3, int(np.floor(centre)) + 4):
        left = (tile - centre) * scale + image.width / 2
        top = floor if tile % 2 else middle
        pen.rectangle([left, top, left + scale, top + middle - floor], fill=TILE)
        pen.text((left, 0.5 * (middle + image.height)), f"{tile} m", fill=SKY, font=_font(11), anchor="mm")
    pen.line([0, floor, image.width, floor], fill=EDGE, width=OVERSAMPLING)


def _capsule_ends(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> tuple[list[Array], float]:
    """Both ends of a capsule's axis in space, and its radius."""
    axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom, 1]
    return [data.geom_xpos[geom] - axis, data.geom_xpos[geom] + axis], float(model.geom_size[geom, 0])


def draw_navigation(trail: Array, goal: Array, size: int = 320) -> NDArray[np.uint8]:
    """The way [step, 2] of a point from the origin, and its goal; the square of all goals, and 0.2 around it."""
    image, pen = _canvas(size, size, SKY)
    scale = image.width / 1.4

    def pixel(point: ArrayLike) -> tuple[float, float]:
        x, y = np.asarray(point, np.float64)
        return image.width / 2 + float(x) * scale, image.height / 2 - float(y) * scale

    pen.rectangle([*pixel((-0.5, 0.5)), *pixel((0.5, -0.5))], fill="white", outline=GROUND, width=2 * OVERSAMPLING)
    _disc(pen, pixel(goal), 11 * OVERSAMPLING, "#c8daee")
    _disc(pen, pixel(goal), 7 * OVERSAMPLING, ACCENT)
    _disc(pen, pixel((0, 0)), 3 * OVERSAMPLING, GROUND)
    pen.line([pixel(point) for point in trail], fill=BODY, width=2 * OVERSAMPLING, joint="curve")
    for point in trail[:-1]:
        _disc(pen, pixel(point), 2 * OVERSAMPLING, FAR)
    _disc(pen, pixel(trail[-1]), 5 * OVERSAMPLING, BODY)
    speed = np.linalg.norm(trail[-1] - trail[-2]) if len(trail) > 1 else 0.0
    caption = f"goal ({goal[0]:+.2f}, {goal[1]:+.2f})   now {speed:.2f} per step"
    pen.text((0.03 * image.width, 0.03 * image.height), caption, INK, _font(13))
    return _reduced(image, size, size)


def _canvas(width: int, height: int, colour: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), colour)
    return image, ImageDraw.Draw(image)


def _reduced(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * OVERSAMPLING)


def _capsule(pen: ImageDraw.ImageDraw, ends: list[tuple[float, float]], radius: float, colour: str) -> None:
    pen.line(ends, fill=colour, width=round(2 * radius))
    for end in ends:
        _disc(pen, end, radius, colour)
        _disc(pen, end, radius / 3, JOINT)


def _disc(pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: str) -> None:
    x, y = centre
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
