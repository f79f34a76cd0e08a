"""Pictures of episodes, drawn with Pillow: they need no OpenGL and no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.envs.family import Array

if TYPE_CHECKING:
    import mujoco

OVERSAMPLING = 3  # drawn larger and then reduced, which smooths the edges
SKY, GROUND, TILE, INK = "#eef3f8", "#8a9ba8", "#7b8c99", "#22303a"
BODY, JOINT, ACCENT = "#d9822b", "#a85f16", "#2b6cb0"


def draw_side_view(
    model: mujoco.MjModel, data: mujoco.MjData, caption: str, width: int = 480, height: int = 240
) -> NDArray[np.uint8]:
    """A planar robot's capsules in the x-z plane, followed by the camera; the ground's tiles are 1 m wide."""
    scale = OVERSAMPLING * width / 4.0  # pixels per metre: 4 m are in view
    image, pen = _canvas(width, height, SKY)
    centre = float(data.body("torso").xpos[0])
    floor = 0.82 * OVERSAMPLING * height

    def pixel(x: float, z: float) -> tuple[float, float]:
        return (x - centre) * scale + image.width / 2, floor - z * scale

    pen.rectangle([0, floor, image.width, image.height], fill=GROUND)
    for tile in range(int(np.floor(centre)) - 3, int(np.floor(centre)) + 4):
        if tile % 2:
            left, right = pixel(tile, 0)[0], pixel(tile + 1, 0)[0]
            pen.rectangle([left, floor, right, image.height], fill=TILE)
        pen.text((pixel(tile, 0)[0], floor + 0.06 * image.height), f"{tile} m", fill=SKY, font=_font(11), anchor="mm")
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom]:
            axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * model.geom_size[geom, 1]
            ends = [data.geom_xpos[geom] + sign * axis for sign in (-1, 1)]
            radius = float(model.geom_size[geom, 0]) * scale
            _capsule(pen, [pixel(end[0], end[2]) for end in ends], radius)
    pen.text((0.02 * image.width, 0.04 * image.height), caption, fill=INK, font=_font(15))
    return _reduced(image, width, height)


def draw_navigation(trail: Array, goal: Array, size: int = 320) -> NDArray[np.uint8]:
    """The way [step, 2] of a point from the origin, and its goal; the square shown is 1.4 wide."""
    image, pen = _canvas(size, size, SKY)
    scale = image.width / 1.4

    def pixel(point: Array) -> tuple[float, float]:
        return image.width / 2 + float(point[0]) * scale, image.height / 2 - float(point[1]) * scale

    corners = [pixel(np.array([-0.5, 0.5])), pixel(np.array([0.5, -0.5]))]
    pen.rectangle([*corners[0], *corners[1]], outline=GROUND, width=2 * OVERSAMPLING)
    pen.line([pixel(point) for point in trail], fill=BODY, width=2 * OVERSAMPLING, joint="curve")
    _disc(pen, pixel(np.zeros(2)), 3 * OVERSAMPLING, GROUND)
    _disc(pen, pixel(goal), 7 * OVERSAMPLING, ACCENT)
    _disc(pen, pixel(trail[-1]), 5 * OVERSAMPLING, BODY)
    pen.text((0.03 * image.width, 0.03 * image.height), f"goal ({goal[0]:+.2f}, {goal[1]:+.2f})", INK, _font(13))
    return _reduced(image, size, size)


def _canvas(width: int, height: int, colour: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), colour)
    return image, ImageDraw.Draw(image)


def _reduced(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * OVERSAMPLING)


def _capsule(pen: ImageDraw.ImageDraw, ends: list[tuple[float, float]], radius: float) -> None:
    pen.line(ends, fill=BODY, width=round(2 * radius))
    for end in ends:
        _disc(pen, end, radius, BODY)
        _disc(pen, end, radius / 3, JOINT)


def _disc(pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: str) -> None:
    x, y = centre
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
