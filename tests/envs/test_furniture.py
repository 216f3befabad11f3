import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.envs.houses.atlas import ALIGNMENT, WIDTH, Atlas
from navloop.envs.houses.furniture.catalogue import CATEGORIES, draw_mesh
from navloop.envs.houses.furniture.paintings import PAINTINGS, painting
from navloop.envs.houses.furniture.palette import GROUPS, draw_finish, draw_style, finish
from navloop.envs.houses.furniture.patterns import PATTERNS, SHADES, pattern, surface
from navloop.envs.houses.furniture.sketch import Mesh, Picture, Sketch

OAK = finish("wood", "oak")


def draw(category: str, seed: int) -> tuple[Mesh, Atlas]:
    rng = np.random.default_rng(seed)
    atlas, style = Atlas(), draw_style(rng)
    main = draw_finish(style, CATEGORIES[category].groups, rng, ())
    return draw_mesh(category, (atlas, style), main, rng), atlas


def sketch(atlas: Atlas) -> Sketch:
    rng = np.random.default_rng(0)
    return Sketch(atlas, draw_style(rng), OAK, rng)


def test_there_are_at_least_fifty_kinds_of_furniture():
    assert len({kind.label for kind in CATEGORIES.values()}) >= 50


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_every_kind_is_finite_and_within_its_budget(category):
    for seed in range(12):
        mesh, _ = draw(category, seed)
        assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.shares).all()
        assert 2 <= len(mesh.faces) <= CATEGORIES[category].budget
        assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
        assert mesh.shares.min() >= -1e-9 and mesh.shares.max() <= 1 + 1e-9


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_every_kind_stands_where_its_frame_says(category):
    lowest = {"floor": 0.0, "top": 0.0, "flat": 0.0}
    for seed in range(6):
        mesh, _ = draw(category, seed)
        mount = CATEGORIES[category].mount
        if mount in lowest:
            assert mesh.low[1] >= -1e-9
            assert mesh.low[1] <= 0.06
        if mount == "ceiling":
            assert mesh.high[1] <= 1e-9
        if mount == "flat":
            assert mesh.high[1] < 0.02


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_same_seed_draws_the_same_piece(category):
    (first, atlas), (second, other) = draw(category, 5), draw(category, 5)
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(atlas.pack(first.images).image, other.pack(second.images).image)


@pytest.mark.parametrize("category", ["sofa", "wardrobe", "desk", "fridge", "stove", "bed", "dresser", "toilet"])
def test_faces_turn_outwards_as_rays_see_them(category):
    """From any side but below and behind, the first surface that a ray meets shows its front."""
    mesh, _ = draw(category, 3)
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    middle = (mesh.low + mesh.high) / 2
    for direction in ([0.3, 0.5, -1], [-0.6, 0.4, -1], [0.05, 1, -0.1], [1, 0.6, -0.5], [-1, 0.6, -0.5]):
        ahead = -np.array(direction) / np.linalg.norm(direction)
        targets = middle + np.random.default_rng(0).uniform(-0.45, 0.45, (300, 3)) * (mesh.high - mesh.low)
        hits, _, triangles = body.ray.intersects_location(targets - 6 * ahead, np.tile(ahead, (300, 1)), False)
        assert len(hits) > 80
        fronts = (body.face_normals[triangles] @ ahead) < 0
        assert fronts.mean() > 0.97


def test_a_whole_box_is_a_closed_volume():
    drawn = sketch(Atlas())
    drawn.box((0.5, 0.2, -1), (2, 3, 4), OAK, "tfblru")
    mesh = drawn.mesh()
    body = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert body.is_watertight and body.is_winding_consistent
    assert body.volume == pytest.approx(24)
    np.testing.assert_allclose([mesh.low, mesh.high], [[-0.5, 0.2, -3], [1.5, 3.2, 1]])


@settings(max_examples=25, deadline=None)
@given(sides=st.integers(3, 12), lower=st.floats(0.1, 1), upper=st.floats(0.1, 1), depth=st.floats(0.5, 1.5))
def test_a_prism_is_a_closed_volume(sides, lower, upper, depth):
    drawn = sketch(Atlas())
    drawn.prism((0, 0, 0), (lower, upper), 0.7, OAK, sides, "tu", depth)
    mesh = drawn.mesh()
    body = trimesh.Trimesh(np.round(mesh.vertices, 9), mesh.faces)
    base = sides / 2 * np.sin(2 * np.pi / sides) * depth
    assert body.is_watertight
    assert body.volume == pytest.approx(base * 0.7 / 3 * (lower**2 + lower * upper + upper**2), rel=1e-6)


def test_a_picture_is_upright_and_not_mirrored_on_a_front():
    """Its left edge lies at +x, which is to the left of someone who looks at the front along +z."""
    atlas = Atlas()
    drawn = sketch(atlas)
    image = np.zeros((20, 30, 3), np.uint8)
    image[0, 0] = 255
    drawn.box((0, 0, 0), (1, 1, 1), Picture(("corner",), lambda: image), "f")
    mesh = drawn.mesh()
    packed = atlas.pack(mesh.images)
    uv = packed.uv(mesh.images, mesh.shares)
    columns, rows = (uv * (WIDTH, len(packed.image)) - 0.5).round().astype(int).T
    lit = packed.image[rows, columns, 0] > 0
    np.testing.assert_allclose(mesh.vertices[lit], [[0.5, 1.0, -0.5]])


def test_the_atlas_keeps_each_image_with_a_border_of_its_own():
    atlas, rng = Atlas(), np.random.default_rng(1)
    images = [rng.integers(0, 256, (*rng.integers(8, 120, 2), 3), dtype=np.uint8) for _ in range(150)]
    numbers = np.array([atlas.number(i, lambda image=image: image) for i, image in enumerate(images)])
    packed = atlas.pack(numbers)
    height = len(packed.image)
    assert height & (height - 1) == 0
    for number, image in zip(numbers, images, strict=True):
        corners = packed.uv(np.array([number, number]), np.array([[0.0, 0.0], [1.0, 1.0]])).astype(float)
        (x0, y0), (x1, y1) = np.round(corners * (WIDTH, height) - 0.5).astype(int)
        np.testing.assert_array_equal(packed.image[y0 : y1 + 1, x0 : x1 + 1], image)
        np.testing.assert_array_equal(packed.image[y0 - 4 : y0, x0 : x1 + 1], np.repeat(image[:1], 4, axis=0))
        assert (y0 - 4) % ALIGNMENT == (x0 - 4) % ALIGNMENT == 0


def test_the_atlas_draws_only_what_is_used_and_only_once():
    atlas, drawn = Atlas(), []

    def draw_image(name):
        drawn.append(name)
        return np.zeros((8, 8, 3), np.uint8)

    used = [atlas.number("seen", lambda: draw_image("seen")) for _ in range(3)]
    atlas.number("unseen", lambda: draw_image("unseen"))
    atlas.pack(np.array(used))
    assert drawn == ["seen"]


def test_an_image_wider_than_the_atlas_is_refused():
    atlas = Atlas()
    number = atlas.number("wide", lambda: np.zeros((8, WIDTH, 3), np.uint8))
    with pytest.raises(ValueError, match=f"{WIDTH}"):
        atlas.pack(np.array([number]))


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_patterns_keep_the_mean_colour(name):
    assert pattern(name).mean() == pytest.approx(1, abs=0.09)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_shades_darken_every_finish_in_order(group):
    for colour in GROUPS[group][2]:
        means = [surface(finish(group, colour), shade).mean() for shade in SHADES]
        assert means == sorted(means, reverse=True)
        assert means[0] > 1.2 * means[-1]


def test_finishes_avoid_taken_colours_while_others_are_left():
    rng = np.random.default_rng(0)
    style = draw_style(rng)
    taken = set()
    for _ in range(12):
        chosen = draw_finish(style, ("fabric",), rng, taken)
        assert chosen.colour not in taken
        taken.add(chosen.colour)


@pytest.mark.parametrize("kind", PAINTINGS)
def test_paintings_of_a_kind_differ(kind):
    images = [painting(kind, seed, (0, 0, 0)).draw() for seed in range(6)]
    differing = [np.mean(images[0] != other) for other in images[1:]]
    assert min(differing) > 0.02


def test_an_unknown_kind_is_named_with_the_known_ones():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"'throne'.*sofa"):
        draw_mesh("throne", (Atlas(), draw_style(rng)), OAK, rng)
