"""RGB by Panda3D's software rasteriser (or its EGL pipe): unlit textures, offscreen, no display opened."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from panda3d import core

from navloop.envs.embedded.mesh import SceneMesh
from navloop.envs.glb import Part
from navloop.envs.simulator import Camera
from navloop.geometry import Pose

NEAR, FAR = 0.03, 200.0
"""Metres; a camera at a body's centre is at least its radius from any wall, and the near plane's corners are nearer than that."""

COLLECTED = 256
"""Frames after which what Panda3D remembers of earlier ones is freed."""

PIPES = {"panda": ("TinyOffscreenGraphicsPipe", "p3tinydisplay"), "egl": ("eglGraphicsPipe", "p3headlessgl")}


class RendererMissing(RuntimeError):
    """A renderer that cannot run here; the message says what it lacks."""


class PandaScene:
    """The drawable geometry of one scene, for one pipe; freed with `release`."""

    def __init__(self, mesh: SceneMesh, pipe: Literal["panda", "egl"] = "panda") -> None:
        self.root = core.NodePath("scene")
        # Surfaces that meet tie in depth along their edges, and the first drawn wins. By itself Panda3D orders by addresses in
        # memory, so pixels would change from run to run. (Nor may rooms be stashed: they would come back in another order.)
        self.root.set_bin("unsorted", 0)
        textures = {name: _texture(name, pixels) for name, pixels in mesh.textures.items()}
        self._rooms: dict[str, core.NodePath] = {}
        for room, part in mesh.batches:
            if room not in self._rooms:
                self._rooms[room] = self.root.attach_new_node(room or "scene")
            # The software rasteriser takes a texel's corner for its centre (measured with waves of known phase).
            height, width, _ = mesh.textures[part.texture].shape
            shift = (0.5 / width, 0.5 / height) if pipe == "panda" else (0.0, 0.0)
            drawn = self._rooms[room].attach_new_node(_geometry(part, shift))
            drawn.set_texture(textures[part.texture])
        self._textures = list(textures.values())
        self._all = self._shown = frozenset(self._rooms)

    def show(self, rooms: Iterable[str] | None) -> None:
        """Draw these rooms only; None draws all."""
        wanted = self._all if rooms is None else self._all.intersection(rooms)
        if wanted != self._shown:
            for room in self._shown - wanted:
                self._rooms[room].hide()
            for room in wanted - self._shown:
                self._rooms[room].show()
            self._shown = wanted

    def release(self) -> None:
        """Free geometry and textures."""
        self.show(None)
        self.root.remove_node()
        for texture in self._textures:
            texture.release_all()
        _collect()


class PandaRenderer:
    """Draws the frames of some cameras in one pass for each size of picture.

    Args:
        cameras: RGB cameras.
        pipe: "panda" (software) or "egl".

    Raises:
        RendererMissing: If the pipe cannot be had here.
    """

    def __init__(self, cameras: Sequence[Camera], pipe: Literal["panda", "egl"] = "panda") -> None:
        sizes: dict[tuple[int, int], list[Camera]] = {}
        for camera in cameras:
            sizes.setdefault((camera.width, camera.height), []).append(camera)
        self._sheets = [_Sheet(group, pipe) for group in sizes.values()]
        self._frames = 0

    def render(self, scene: PandaScene, pose: Pose, tilt: float = 0.0) -> dict[str, NDArray[np.uint8]]:
        """Return the frames uint8 (H, W, 3) by camera name; `tilt` in radians is added to every pitch."""
        frames: dict[str, NDArray[np.uint8]] = {}
        for sheet in self._sheets:
            frames |= sheet.render(scene, pose, tilt)
        self._frames += 1
        if self._frames % COLLECTED == 0:
            _collect()
        return frames

    def close(self) -> None:
        """Free the buffers."""
        for sheet in self._sheets:
            sheet.close()
        self._sheets = []


class _Sheet:
    """A buffer in which pictures of one size stand one above the other."""

    def __init__(self, cameras: Sequence[Camera], pipe: Literal["panda", "egl"]) -> None:
        self._cameras = cameras
        self._pipe = pipe
        self._width, self._height = cameras[0].width, cameras[0].height
        rows = self._height * len(cameras)
        wanted = core.FrameBufferProperties()
        wanted.set_rgba_bits(8, 8, 8, 0)
        wanted.set_depth_bits(24)
        size = core.WindowProperties.size(self._width, rows)
        self._buffer = _engine().make_output(_pipe(pipe), "frames", 0, wanted, size, core.GraphicsPipe.BF_refuse_window)
        if self._buffer is None:
            raise RendererMissing(f"no {self._width} x {rows} picture can be made with {PIPES[pipe][1]}")
        self._picture = core.Texture("frames")
        self._buffer.add_render_texture(self._picture, core.GraphicsOutput.RTM_copy_ram)
        self._buffer.set_active(False)
        self._eyes = [
            self._eye(camera, 1 - (i + 1) / len(cameras), 1 - i / len(cameras)) for i, camera in enumerate(cameras)
        ]

    def _eye(self, camera: Camera, bottom: float, top: float) -> core.NodePath:
        eye = core.NodePath(core.Camera(camera.name, _lens(camera, exact=self._pipe != "panda")))
        region = self._buffer.make_display_region(0, 1, bottom, top)
        region.set_camera(eye)
        region.set_clear_color_active(True)
        region.set_clear_color((0, 0, 0, 1))
        region.set_clear_depth_active(True)
        return eye

    def render(self, scene: PandaScene, pose: Pose, tilt: float) -> dict[str, NDArray[np.uint8]]:
        x, y, z = pose.position.tolist()
        for eye, camera in zip(self._eyes, self._cameras, strict=True):
            if eye.get_parent() != scene.root:
                eye.reparent_to(scene.root)
            # Panda's z is up and its y ahead.
            pitch = math.degrees(camera.pitch + tilt)
            eye.set_pos_hpr(x, -z, y + camera.elevation, math.degrees(pose.heading + camera.yaw), pitch, 0)
        self._buffer.set_active(True)
        _engine().render_frame()
        self._buffer.set_active(False)
        pixels = np.frombuffer(self._picture.get_ram_image_as("RGB"), np.uint8).reshape(
            -1, self._height, self._width, 3
        )
        count = len(self._cameras)
        # Rows come from the bottom up, so the first camera's picture is the last.
        return {camera.name: pixels[count - 1 - i, ::-1].copy() for i, camera in enumerate(self._cameras)}

    def close(self) -> None:
        for eye in self._eyes:
            eye.remove_node()
        _engine().remove_window(self._buffer)


def _lens(camera: Camera, exact: bool) -> core.PerspectiveLens:
    """Return the lens of a pinhole camera with square pixels.

    Where the pipe is not `exact`, it undoes what the software rasteriser does to positions. Measured with things at known
    places: it spreads a picture of W columns over W - 1/2 only and counts them from corners, not centres, and rows alike. What
    remains is that things are half a pixel too large on every side.
    """
    width = 2 * math.tan(camera.hfov / 2)
    pixel = width / camera.width
    lens = core.PerspectiveLens()
    trim = 0.0 if exact else pixel / 2
    lens.set_film_size(width - trim, pixel * camera.height - trim)
    lens.set_focal_length(1.0)
    if not exact:
        lens.set_film_offset(-0.25 * pixel, 0.25 * pixel)
    lens.set_near_far(NEAR, FAR)
    return lens


def _collect() -> None:
    """Free states of what is drawn that nothing uses.

    They hold each other, and the textures of scenes long gone: six megabytes a house. Panda3D's own main loop, which does not run here,
    would collect them.
    """
    core.RenderState.garbage_collect()
    core.TransformState.garbage_collect()


@cache
def _engine() -> core.GraphicsEngine:
    return core.GraphicsEngine.get_global_ptr()


@cache
def _pipe(name: str) -> Any:
    kind, module = PIPES[name]
    core.Notify.ptr().set_ostream_ptr(core.StringStream(), False)  # the loader prints what it cannot load; we raise it
    pipe = core.GraphicsPipeSelection.get_global_ptr().make_pipe(kind, module)
    if pipe is None or not pipe.is_valid():
        needs = "the library libX11 (it opens no display)" if name == "panda" else "an EGL driver"
        raise RendererMissing(f"Panda3D cannot load {module} here; it needs {needs}")
    return pipe


def _texture(name: str, pixels: NDArray[np.uint8]) -> core.Texture:
    height, width, _ = pixels.shape
    texture = core.Texture(name)
    texture.setup_2d_texture(width, height, core.Texture.T_unsigned_byte, core.Texture.F_rgb)
    texture.set_ram_image(np.ascontiguousarray(pixels[::-1, :, ::-1]).tobytes())  # BGR, from the bottom up
    texture.set_wrap_u(core.SamplerState.WM_repeat)
    texture.set_wrap_v(core.SamplerState.WM_repeat)
    texture.set_minfilter(core.SamplerState.FT_linear_mipmap_nearest)
    texture.set_magfilter(core.SamplerState.FT_linear)
    # Only at its best quality does the rasteriser filter, and keep texture coordinates exact in perspective.
    texture.set_quality_level(core.Texture.QL_best)
    return texture


def _geometry(part: Part, shift: tuple[float, float]) -> core.GeomNode:
    rows = np.empty((len(part.vertices), 5), np.float32)
    rows[:, 0], rows[:, 1], rows[:, 2] = part.vertices[:, 0], -part.vertices[:, 2], part.vertices[:, 1]
    rows[:, 3], rows[:, 4] = part.uv[:, 0] + shift[0], 1 - part.uv[:, 1] + shift[1]
    vertices = core.GeomVertexData("part", core.GeomVertexFormat.get_v3t2(), core.Geom.UH_static)
    vertices.unclean_set_num_rows(len(rows))
    vertices.modify_array_handle(0).copy_data_from(rows.tobytes())
    triangles = core.GeomTriangles(core.Geom.UH_static)
    triangles.set_index_type(core.Geom.NT_uint32)
    indices = triangles.modify_vertices()
    indices.unclean_set_num_rows(part.faces.size)
    indices.modify_handle().copy_data_from(part.faces.astype(np.uint32).tobytes())
    geom = core.Geom(vertices)
    geom.add_primitive(triangles)
    node = core.GeomNode("part")
    node.add_geom(geom)
    return node
