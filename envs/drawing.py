"""Pictures of episodes, drawn with Pillow: they need no OpenGL and no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.envs.family import Array

if TYPE_CHECKING:
    import mujoco

OVERSAMPLING = 3  # drawn larger and then reduced, which smooths the edges
SKY, GROUND, TILE, EDGE, INK = "#eef3f8", "#8a9ba8", "#7b8c99", "#64747f", "#22303a"
BODY, FAR, JOINT, ACCENT = "#d9822b", "#b86a1c", "#fbe3c8", "#2b6cb0"
ROOT = 1  # body of a robot that views follow: 0 is the world
SPHERE, CAPSULE = 2, 3  # of mujoco.mjtGeom, which is not imported for robots that are not drawn
FREE, SLIDE = 0, 2  # of mujoco.mjtJoint
FLAT = 0.2  # height of a robot that lies on the ground, by its length


class View(NamedTuple):
    """What a picture of a robot shows.

    Attributes:
        width: of the view in m.
        up: axis that points up in the picture: 2 for a view from the side, 1 for one from above.
        middle: height of the robot's middle in m.
    """

    width: float
    up: int
    middle: float


def view_of(model: mujoco.MjModel, data: mujoco.MjData) -> View:
    """Return a view that holds a robot, in this state, with some room, from above if it lies flat on the ground."""
    parts = _moving_parts(model)
    centers, halves = np.split(model.geom_aabb[parts], 2, axis=1)
    turns = data.geom_xmat[parts].reshape(-1, 3, 3)
    middles = data.geom_xpos[parts] + np.einsum("nij,nj->ni", turns, centers)
    reaches = np.einsum("nij,nj->ni", np.abs(turns), halves)
    low, high = (middles - reaches).min(axis=0), (middles + reaches).max(axis=0)
    if not np.isin(model.jnt_type[model.jnt_bodyid == ROOT], (FREE, SLIDE)).any():
        root = data.xpos[ROOT]
        reach = np.maximum(high - root, root - low).max()  # of a robot that swings around a fixed place
        low, high = root - reach, root + reach
    along, across, height = map(float, high - low)
    middle = float(low[2] + high[2]) / 2
    if height < FLAT * max(along, across):
        return View(2.2 * max(along, 2 * across), 1, middle)
    return View(max(2.2 * along, 2.9 * max(height, float(high[2]))), 2, middle)


def draw_robot(
    model: mujoco.MjModel, data: mujoco.MjData, view: View, caption: str, width: int = 480, height: int = 240
) -> NDArray[np.uint8]:
    """Draw a robot, from the side over tiles that are 1 m wide or from above.

    Args:
        model: model of the robot, whose first moving body the picture follows.
        data: its state, with all bodies in place.
        view: what the picture shows.
        caption: text in the upper left corner.
        width: width of the picture in pixels.
        height: its height.

    Returns:
        The picture [height, width, 3].
    """
    scale = OVERSAMPLING * width / view.width  # pixels per meter
    image, pen = _canvas(width, height, SKY)
    center = data.xpos[ROOT]
    floor = 0.8 * OVERSAMPLING * height
    below, zero = (center[1], image.height / 2) if view.up == 1 else (0.0, floor)

    def pixel(place: Array) -> tuple[float, float]:
        x, up = float(place[0] - center[0]), float(place[view.up] - below)
        return image.width / 2 + x * scale, zero - up * scale

    # The root comes last, in front of the limbs; farther parts come before nearer ones.
    def depth(geom: int) -> tuple[bool, float]:
        away = data.geom_xpos[geom, 1] if view.up == 2 else -data.geom_xpos[geom, 2]
        return bool(model.geom_bodyid[geom] == ROOT), -float(away)

    parts = sorted(_moving_parts(model), key=depth)
    if view.up == 1:
        _grid(pen, image, center, scale)
    else:
        _ground(pen, image, floor, float(center[0]), scale)
        for geom in parts:
            middle, reach = pixel(data.geom_xpos[geom])[0], float(model.geom_rbound[geom]) * scale
            shadow = [middle - reach, floor + 0.01 * image.height, middle + reach, floor + 0.04 * image.height]
            pen.ellipse(shadow, fill=EDGE)
    for geom in parts:
        color = BODY if model.geom_bodyid[geom] == ROOT else FAR
        if model.geom_type[geom] in (SPHERE, CAPSULE):
            ends = [pixel(end) for end in _axis_ends(model, data, geom)]
            _capsule(pen, ends, float(model.geom_size[geom, 0]) * scale, color)
        else:
            for face in _faces(model, data, geom):
                pen.polygon([pixel(corner) for corner in face], fill=color)
    pen.text((0.02 * image.width, 0.04 * image.height), caption, fill=INK, font=_font(15))
    return _reduced(image, width, height)


def write_caption(picture: NDArray[np.uint8], caption: str) -> NDArray[np.uint8]:
    """Return the picture with a text in its upper left corner."""
    image = Image.fromarray(picture)
    place, font = (0.02 * image.width, 0.04 * image.height), ImageFont.load_default(15)
    ImageDraw.Draw(image).text(place, caption, fill="white", font=font, stroke_width=1, stroke_fill=INK)
    return np.array(image)


def _moving_parts(model: mujoco.MjModel) -> list[int]:
    """Return the geoms of all bodies but the world's."""
    return [geom for geom in range(model.ngeom) if model.geom_bodyid[geom]]


def _ground(pen: ImageDraw.ImageDraw, image: Image.Image, floor: float, center: float, scale: float) -> None:
    """Draw two rows of tiles like a chessboard, with the meters written below their edges."""
    middle = (floor + image.height) / 2
    pen.rectangle([0, floor, image.width, image.height], fill=GROUND)
    reach = int(image.width / scale / 2) + 1
    for tile in range(int(np.floor(center)) - reach, int(np.floor(center)) + reach + 1):
        left = (tile - center) * scale + image.width / 2
        top = floor if tile % 2 else middle
        pen.rectangle([left, top, left + scale, top + middle - floor], fill=TILE)
        pen.text((left, 0.5 * (middle + image.height)), f"{tile} m", fill=SKY, font=_font(11), anchor="mm")
    pen.line([0, floor, image.width, floor], fill=EDGE, width=OVERSAMPLING)


def _grid(pen: ImageDraw.ImageDraw, image: Image.Image, center: Array, scale: float) -> None:
    """Draw lines 1 m apart on the ground seen from above."""
    middle = np.array([image.width, image.height]) / 2
    low, high = np.ceil(center[:2] - middle / scale), np.floor(center[:2] + middle / scale)
    for x in np.arange(low[0], high[0] + 1):
        place = middle[0] + (x - center[0]) * scale
        pen.line([place, 0, place, image.height], fill=GROUND, width=OVERSAMPLING)
    for y in np.arange(low[1], high[1] + 1):
        place = middle[1] - (y - center[1]) * scale
        pen.line([0, place, image.width, place], fill=GROUND, width=OVERSAMPLING)


def _axis_ends(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> list[Array]:
    """Return both ends [3] of the axis of a capsule or a sphere."""
    half = 0.0 if model.geom_type[geom] == SPHERE else model.geom_size[geom, 1]
    axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * half
    return [data.geom_xpos[geom] - axis, data.geom_xpos[geom] + axis]


def _faces(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> list[Array]:
    """Return the faces [4, 3] of the box around any other geom."""
    center, half = np.split(model.geom_aabb[geom], 2)
    square = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
    faces = [np.insert(square, axis, side, axis=1) for axis in range(3) for side in (-1, 1)]
    turn = data.geom_xmat[geom].reshape(3, 3).T
    return [data.geom_xpos[geom] + (center + face * half) @ turn for face in faces]


def draw_navigation(trail: Array, goal: Array, size: int = 320) -> NDArray[np.uint8]:
    """Draw the path [step, 2] of a point from the origin to its goal, in the square of all goals and 0.2 around it."""
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


def _canvas(width: int, height: int, color: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), color)
    return image, ImageDraw.Draw(image)


def _reduced(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * OVERSAMPLING)


def _capsule(pen: ImageDraw.ImageDraw, ends: list[tuple[float, float]], radius: float, color: str) -> None:
    pen.line(ends, fill=color, width=round(2 * radius))
    for end in ends:
        _disc(pen, end, radius, color)
        _disc(pen, end, radius / 3, JOINT)


def _disc(pen: ImageDraw.ImageDraw, center: tuple[float, float], radius: float, color: str) -> None:
    x, y = center
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)
