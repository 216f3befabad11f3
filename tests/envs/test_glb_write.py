"""GLB files, read back by trimesh."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from navloop.envs.glb import Model, Node, Part, write_glb


def _model(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    textures = {name: rng.integers(0, 256, (8, 16, 3), dtype=np.uint8) for name in ("a", "b")}
    parts = []
    for texture in ("b", "a", "a"):
        vertices = rng.normal(size=(7, 3)).astype(np.float32)
        faces = rng.permuted(np.tile(np.arange(7), (5, 1)), axis=1)[:, :3].astype(np.int32)
        parts.append(Part(texture, vertices, faces, rng.uniform(-2, 3, (7, 2)).astype(np.float32)))
    return Model((Node("room/walls", tuple(parts[:2])), Node("sofa_1", (parts[2],))), textures)


def _triangles(model: Model) -> np.ndarray:
    return np.concatenate([part.vertices[part.faces] for node in model.nodes for part in node.parts])


def test_trimesh_reads_the_same_triangles_and_names(tmp_path: Path) -> None:
    write_glb(tmp_path / "m.glb", _model())
    scene = trimesh.load_scene(tmp_path / "m.glb", process=False)
    read = np.concatenate([mesh.triangles for mesh in scene.geometry.values()])
    np.testing.assert_array_equal(read.astype(np.float32), _triangles(_model()))
    assert list(scene.geometry) == ["room/walls", "room/walls_1", "sofa_1"]


def test_trimesh_reads_the_same_pictures_and_texture_coordinates(tmp_path: Path) -> None:
    model = _model()
    write_glb(tmp_path / "m.glb", model)
    read = trimesh.load_scene(tmp_path / "m.glb", process=False).geometry["sofa_1"]
    part = model.nodes[1].parts[0]
    image = read.visual.material.baseColorTexture
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), model.textures[part.texture])
    # trimesh turns v over: it counts from the image's lower edge.
    np.testing.assert_allclose(read.visual.uv * [1, -1] + [0, 1], part.uv, atol=1e-6)


def test_materials_are_unlit_and_one_sided(tmp_path: Path) -> None:
    write_glb(tmp_path / "m.glb", _model())
    data = (tmp_path / "m.glb").read_bytes()
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[8:12], "little") == len(data)
    assert data.count(b'"KHR_materials_unlit":{}') == 2
    assert data.count(b'"doubleSided":false') == 2


def test_same_model_same_bytes(tmp_path: Path) -> None:
    for name in ("first.glb", "second.glb"):
        write_glb(tmp_path / name, _model())
    assert (tmp_path / "first.glb").read_bytes() == (tmp_path / "second.glb").read_bytes()


def test_missing_texture_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    model = _model()
    with pytest.raises(ValueError, match="'b'"):
        write_glb(tmp_path / "m.glb", Model(model.nodes, {"a": model.textures["a"]}))
    assert list(tmp_path.iterdir()) == []
