"""Pictures of robots by MuJoCo's renderer, and by Pillow where there is no OpenGL."""

from __future__ import annotations

import subprocess
import sys

import mujoco
import numpy as np
import pytest
from PIL import ImageColor

from metarl.envs import drawing
from metarl.envs.drawing import view_of
from metarl.envs.mujoco import camera
from metarl.envs.mujoco.camera import HEIGHT, WIDTH, Camera, may_have_opengl

GEOMS = {
    "sphere": 'type="sphere" size="0.5"',
    "capsule": 'type="capsule" size="0.5 0.000001"',
    "box": 'type="box" size="0.5 0.5 0.5"',
    "cylinder": 'type="cylinder" size="0.5 0.5"',
    "ellipsoid": 'type="ellipsoid" size="0.5 0.5 0.5"',
}


def model_of(*geoms: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A model with one body that holds the geoms, and its reference state."""
    parts = "".join(f"<geom {geom}/>" for geom in geoms)
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom type="plane" size="9 9 1"/><body pos="3 0 0.5"><freejoint/>{parts}</body>'
        "</worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return model, data


def is_body(picture: np.ndarray) -> np.ndarray:
    """Which pixels [height, width] have about the color of a robot's first body."""
    return np.abs(picture.astype(int) - ImageColor.getrgb(drawing.BODY)).sum(axis=2) < 60


@pytest.fixture
def without_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "open_renderer", lambda model: None)


@pytest.mark.usefixtures("without_opengl")
@pytest.mark.parametrize("kind", GEOMS)
def test_a_part_is_drawn_where_it_is_and_as_large_as_it_is(kind: str) -> None:
    model, data = model_of(GEOMS[kind], 'type="sphere" size="0.01" pos="0 0 1.5"')
    seen = Camera(model, data)
    # From the ground up to 1.01 m above the middle, in a picture half as high as wide.
    assert seen.view == pytest.approx((2.9 * 2.01, 2, 1.005), abs=0.01)
    rows, columns = np.nonzero(is_body(seen.picture(data, "")))
    meter = WIDTH / seen.view.width
    assert np.ptp(columns) == pytest.approx(meter, abs=3)
    assert columns.mean() == pytest.approx(WIDTH / 2, abs=2)
    assert rows.max() == pytest.approx(0.8 * HEIGHT, abs=3)


@pytest.mark.usefixtures("without_opengl")
def test_a_robot_that_lies_flat_is_drawn_from_above() -> None:
    model, data = model_of('type="capsule" fromto="-1 0 0 1 0 0" size="0.1"', 'type="sphere" size="0.1" pos="0 0.4 0"')
    seen = Camera(model, data)
    assert seen.view.up == 1 and seen.view.width == pytest.approx(2.2 * 2.2, abs=0.01)
    picture = seen.picture(data, "")
    shown = is_body(picture)
    meter = WIDTH / seen.view.width
    assert shown[HEIGHT // 2, WIDTH // 2 + round(0.6 * meter)] and shown[HEIGHT // 2 - round(0.46 * meter), WIDTH // 2]
    assert not shown[HEIGHT // 2 + round(0.46 * meter)].any()
    data.qpos[0] += 0.25
    mujoco.mj_kinematics(model, data)
    assert not np.array_equal(seen.picture(data, ""), picture)  # the ground moves


def test_a_view_holds_a_turned_part() -> None:
    model, data = model_of('type="box" size="1 0.1 0.1" euler="0 90 0"')
    assert view_of(model, data) == pytest.approx((2.9 * 2, 2, 0.5), abs=1e-6)


def test_a_view_holds_an_arm_wherever_it_swings() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body pos="0 0 2"><joint axis="0 1 0"/>'
        '<geom type="capsule" fromto="0 0 0 0 0 -0.9" size="0.1"/></body></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert view_of(model, data) == pytest.approx((2.9 * 3, 2, 2.0), abs=1e-6)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"MUJOCO_GL": "EGL"}, True),
        ("linux", {"MUJOCO_GL": "glfw"}, False),
        ("darwin", {}, True),
    ],
)
def test_glfw_is_not_tried_without_a_display(
    platform: str, variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(camera.sys, "platform", platform)
    assert may_have_opengl() == expected


def test_a_renderer_that_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail(*_: object) -> None:
        tried.append(1)
        raise mujoco.FatalError("no OpenGL")

    monkeypatch.setattr(camera, "may_have_opengl", lambda: True)
    monkeypatch.setattr(camera, "_has_failed", False)
    monkeypatch.setattr(mujoco, "Renderer", fail)
    model, data = model_of(GEOMS["sphere"])
    for _ in range(2):
        seen = Camera(model, data)
        assert seen.picture(data, "caption").shape == (HEIGHT, WIDTH, 3)
        seen.close()
    assert len(tried) == 1


BY_OPENGL = """
import mujoco, numpy as np
from metarl.envs.registry import get_family
simulator = get_family("half-cheetah-velocity").make_simulator(1)
simulator.reset(np.array([[1.0]]), np.array([[0]]))
first = simulator.draw()
if simulator.camera.renderer is None:
    raise SystemExit("no OpenGL")
assert first.shape == (240, 480, 3) and len(np.unique(first.reshape(-1, 3), axis=0)) > 100
for _ in range(9):
    simulator.step(np.ones((1, 1, 6)))
assert (simulator.draw() != first).mean() > 0.01
simulator.reset(np.array([[1.0]]), np.array([[0]]))
assert (simulator.draw() != first).mean() < 0.01
simulator.close()
"""


def test_robots_are_drawn_by_mujoco_where_there_is_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    done = subprocess.run([sys.executable, "-c", BY_OPENGL], capture_output=True, text=True)
    if done.stderr.strip().endswith("no OpenGL") or "import mujoco" in done.stderr:
        pytest.skip("there is no EGL")
    assert done.returncode == 0, done.stderr
