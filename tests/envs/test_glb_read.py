"""GLB files of others: placed, coloured, and refused where they are broken."""

import json
import struct

import numpy as np
import pytest
import trimesh
from glb_scenes import one_room
from PIL import Image

from navloop.envs.glb import read_glb, write_glb
from navloop.envs.simulator import SceneError


def colour_at(model, part):
    """Return the texel (3,) under each vertex of a part."""
    picture = model.textures[part.texture]
    columns, rows = (part.uv * picture.shape[1::-1]).astype(int).T
    return picture[rows % picture.shape[0], columns % picture.shape[1]]


def textured(factor=None):
    mesh = trimesh.creation.box(extents=(1, 1, 1))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.new("RGB", (6, 5), (200, 100, 50)), baseColorFactor=factor
    )
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.full((len(mesh.vertices), 2), 0.25), material=material)
    return mesh


def test_vertex_colours_become_a_texture(tmp_path):
    mesh = trimesh.creation.icosphere(subdivisions=1)
    colours = np.random.default_rng(0).integers(0, 255, (len(mesh.vertices), 4), dtype=np.uint8)
    colours[:, 3] = 255
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    mesh.export(tmp_path / "ball.glb")
    model = read_glb(tmp_path / "ball.glb")
    (part,) = model.nodes[0].parts
    found = {
        tuple(v): tuple(c)
        for v, c in zip(part.vertices.round(4).tolist(), colour_at(model, part).tolist(), strict=True)
    }
    for vertex, colour in zip(mesh.vertices.astype(np.float32).round(4).tolist(), colours[:, :3].tolist(), strict=True):
        assert found[tuple(vertex)] == tuple(colour)


@pytest.mark.parametrize(("factor", "expected"), [(None, (200, 100, 50)), ((255, 128, 0, 255), (200, 50, 0))])
def test_a_base_colour_tints_the_texture(tmp_path, factor, expected):
    trimesh.Scene(textured(factor)).export(tmp_path / "box.glb")
    model = read_glb(tmp_path / "box.glb")
    found = colour_at(model, model.nodes[0].parts[0])
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1)


def test_nested_transforms_are_applied_and_mirrors_keep_outsides_out(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(textured(), node_name="thing", transform=np.diag([2.0, 1, 1, 1]))
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[:3, 3] = (5, 1, -2)
    scene.graph.update(frame_to="group", frame_from="world", matrix=mirror)
    scene.graph.update(frame_to="thing", frame_from="group", matrix=np.diag([2.0, 1, 1, 1]))
    scene.export(tmp_path / "nested.glb")
    (node,) = read_glb(tmp_path / "nested.glb").nodes
    assert node.name == "thing"
    triangles = np.concatenate([part.vertices[part.faces] for part in node.parts])
    np.testing.assert_allclose(triangles.min((0, 1)), [4, 0.5, -2.5], atol=1e-6)
    np.testing.assert_allclose(triangles.max((0, 1)), [6, 1.5, -1.5], atol=1e-6)
    volume = np.einsum("fi,fi->f", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])).sum() / 6
    assert volume == pytest.approx(2)


def test_every_cut_of_a_file_is_refused_by_name(tmp_path):
    write_glb(tmp_path / "whole.glb", one_room())
    data = (tmp_path / "whole.glb").read_bytes()
    for length in range(0, len(data) - 4, 37):
        (tmp_path / "cut.glb").write_bytes(data[:length])
        with pytest.raises(SceneError, match=r"cut\.glb: "):
            read_glb(tmp_path / "cut.glb")


def test_a_file_without_triangles_is_refused(tmp_path):
    text = json.dumps({"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text
    (tmp_path / "empty.glb").write_bytes(body)
    with pytest.raises(SceneError, match=r"empty\.glb: "):
        read_glb(tmp_path / "empty.glb")
