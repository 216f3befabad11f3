"""Frames out of files: the right ones, at the right size and time, equal to what PyAV decodes; bad files are named."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding, UnreadableError
from navloop.training.readers import Films, open_video
from navloop.training.videos import write_video

COUNT, STEP, FPS = 40, 6, 10


def film(count=COUNT, height=48, width=64):
    """Frame k is grey level 6 k, brighter to the right, so that a frame tells its number and which way up it is."""
    slope = np.linspace(0, 12, width, dtype=np.uint8)[None, :, None]
    return [np.broadcast_to(np.uint8(STEP * k) + slope, (height, width, 3)).astype(np.uint8) for k in range(count)]


def numbers(frames):
    return [round((float(frame[:, :4].mean()) - 0.5) / STEP) for frame in frames]


def row(path, **fields):
    return ClipRow(path=str(path), place="walks.jsonl, line 1", **fields)


def encode(path, codec, options=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        for frame in film():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "walk.mp4"
    write_video(path, film(), FPS)
    return path


def frame_folder(folder, count=12, template="img_{:05d}.jpg", first=1):
    folder.mkdir(exist_ok=True)
    for k, frame in enumerate(film(count)):
        Image.fromarray(frame).save(folder / template.format(first + k))
    return folder


def test_frames_equal_those_of_pyav(walk):
    with av.open(str(walk)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    indices = np.array([39, 0, 7, 7, 23])
    video = open_video(row(walk), Decoding())
    assert video.num_frames == len(expected) == COUNT
    frames = video.read(indices)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, np.stack([expected[index] for index in indices]))


def test_seconds_are_the_files_own(walk):
    np.testing.assert_allclose(
        open_video(row(walk), Decoding()).seconds(np.array([0, 1, 39])), [0.0, 0.1, 3.9], atol=1e-6
    )


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("webm", "libvpx", {}),
        ("avi", "mpeg4", {}),
        ("avi", "mpeg4", {"bf": "2"}),
        ("avi", "libx264", {}),  # pictures are reordered, of which an AVI knows nothing
        ("avi", "libx264", {"bf": "0"}),
        ("mkv", "libx264", {}),
    ],
)
def test_other_containers(tmp_path, suffix, codec, options):
    video = open_video(row(encode(tmp_path / f"walk.{suffix}", codec, options)), Decoding())
    indices = np.array([0, 5, 17, 38])
    assert numbers(video.read(indices)) == indices.tolist()
    np.testing.assert_allclose(video.seconds(indices), indices / FPS, atol=2e-3)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_time_stamps_of_a_variable_frame_rate_decide_the_segment(tmp_path, suffix):
    path = tmp_path / f"slow.{suffix}"
    stamps = [0, 100, 200, 1000, 2000, 3000]  # milliseconds
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.time_base = (
            64,
            48,
            "yuv420p",
            Fraction(1, 1000),
        )
        for frame, stamp in zip(film(6), stamps, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    video = open_video(row(path, start=0.15, end=2.0), Decoding())
    assert video.num_frames == 2
    assert numbers(video.read(np.arange(2))) == [2, 3]
    np.testing.assert_allclose(video.seconds(np.arange(2)), [0.2, 1.0], atol=1e-3)


@pytest.mark.parametrize("stamps", [[0], [0, 100, 200]])
def test_a_last_picture_that_is_held_is_not_a_film_cut_off(tmp_path, stamps):
    path = tmp_path / "held.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for frame, stamp in zip(film(len(stamps)), stamps, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = stamp, Fraction(1, 1000)
            packets += stream.encode(picture)
        packets += stream.encode()
        packets[-1].duration = round(3 / packets[-1].time_base)
        for packet in packets:
            container.mux(packet)
    with av.open(str(path)) as container:
        assert container.streams.video[0].duration * container.streams.video[0].time_base > 2.9
    video = open_video(row(path), Decoding())
    assert numbers(video.read(np.arange(len(stamps)))) == list(range(len(stamps)))


def test_a_segment_holds_the_frames_shown_in_it(walk):
    video = open_video(row(walk, start=1.0, end=2.0), Decoding())
    assert video.num_frames == 10
    assert numbers(video.read(np.array([0, 9]))) == [10, 19]
    assert open_video(row(walk, start=3.5), Decoding()).num_frames == 5
    assert open_video(row(walk, first=30, total=4), Decoding()).num_frames == 4


def test_much_larger_videos_are_decoded_at_reduced_size(tmp_path):
    path = tmp_path / "large.mp4"
    write_video(path, film(4, 96, 128), FPS)
    assert open_video(row(path), Decoding(32)).read(np.array([0])).shape == (1, 32, 43, 3)
    assert open_video(row(path), Decoding(32, squash=True)).read(np.array([0])).shape == (1, 32, 32, 3)
    assert open_video(row(path), Decoding(80)).read(np.array([0])).shape == (1, 96, 128, 3)
    assert numbers(open_video(row(path), Decoding(32)).read(np.array([3]))) == [3]


def test_a_film_taken_sideways_is_upright_at_any_size(tmp_path):
    path = tmp_path / "sideways.mp4"
    write_video(path, film(4, 96, 128), FPS)
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40  # the track's display matrix: a quarter turn
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 96 * one, 0, 1 << 30)
    path.write_bytes(data)
    whole = open_video(row(path), Decoding()).read(np.array([0]))[0]
    small = open_video(row(path), Decoding(32)).read(np.array([0]))[0]
    assert whole.shape == (128, 96, 3) and small.shape == (43, 32, 3)
    brighter_down = whole[-8:].mean() - whole[:8].mean()
    assert abs(brighter_down) > 8
    assert np.sign(brighter_down) == np.sign(small[-3:].mean() - small[:3].mean())


@pytest.mark.parametrize("template", ["img_{:05d}.jpg", "image_{:06d}.jpg", "{:d}.png"])
def test_frame_folders(tmp_path, template):
    video = open_video(row(frame_folder(tmp_path / "walk", template=template)), Decoding(folder_fps=4))
    assert video.num_frames == 12
    assert numbers(video.read(np.array([0, 11, 11, 3]))) == [0, 11, 11, 3]
    assert video.seconds(np.array([0, 6])).tolist() == [0.0, 1.5]


def test_frame_folders_as_lists_number_them(tmp_path):
    folder = frame_folder(tmp_path / "walk")
    assert numbers(open_video(row(folder, first=3, total=5), Decoding()).read(np.arange(5))) == [2, 3, 4, 5, 6]
    assert numbers(open_video(row(folder, first=0, total=5), Decoding()).read(np.arange(5))) == [0, 1, 2, 3, 4]
    assert open_video(row(folder, total=7), Decoding()).num_frames == 7


def test_a_first_frame_without_a_total_begins_a_part_that_goes_to_the_end(walk, tmp_path):
    folder = frame_folder(tmp_path / "walk")
    assert numbers(open_video(row(folder, first=9), Decoding()).read(np.arange(4))) == [8, 9, 10, 11]
    film = open_video(row(walk, first=30), Decoding())
    assert film.num_frames == 10 and numbers(film.read(np.array([0, 9]))) == [30, 39]
    assert open_video(row(walk, first=30, start=1.0, end=3.5), Decoding()).num_frames == 5
    with pytest.raises(UnreadableError, match="no frame of 40 lies in the segment"):
        open_video(row(walk, first=40), Decoding())


def test_frames_of_optical_flow_beside_the_images_are_left_alone(tmp_path):
    folder = frame_folder(tmp_path / "walk")
    frame_folder(folder, 12, "flow_x_{:05d}.jpg")
    assert numbers(open_video(row(folder), Decoding()).read(np.arange(3))) == [0, 1, 2]


def test_large_jpegs_are_reduced(tmp_path):
    Image.fromarray(film(4, 480, 640)[3]).save(tmp_path / "hall.jpg")
    video = open_video(row(tmp_path / "hall.jpg"), Decoding(48))
    frames = video.read(np.zeros(4, np.int64))
    assert frames.shape == (4, 48, 64, 3) and numbers(frames) == [3, 3, 3, 3]


def corrupt(walk, path, kind):
    data = bytearray(walk.read_bytes())
    if kind == "empty":
        data = bytearray()
    elif kind == "truncated":
        data = data[: len(data) * 7 // 10]
    elif kind == "no header":
        data = bytearray(b"not a video" * 99)
    elif kind == "hole":
        middle = len(data) // 2
        data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["empty", "truncated", "no header", "hole"])
def test_a_broken_video_is_named(walk, tmp_path, kind):
    path = tmp_path / "broken.mp4"
    corrupt(walk, path, kind)
    with pytest.raises(
        UnreadableError, match=r"broken\.mp4: (cannot be decoded \(.+\)|is cut off at [12]\.\d of 4\.0 s)"
    ):
        open_video(row(path), Decoding()).read(np.arange(0, COUNT, 3))


def test_a_film_that_is_damaged_somewhere_takes_no_room_and_gives_the_frames_that_it_has(walk, tmp_path):
    path = tmp_path / "hole.mp4"
    data = bytearray(walk.read_bytes())
    data[-len(data) // 8 :] = bytes(-(-len(data) // 8))
    path.write_bytes(data)
    alone = open_video(row(path), Decoding())
    kept = Films(Decoding(), 16 * COUNT * 48 * 64 * 3)  # room for 16 such films, and one may take a sixteenth
    for _ in range(2):
        film = open_video(row(path), Decoding(), kept)
        np.testing.assert_array_equal(film.read(np.array([0, 2])), alone.read(np.array([0, 2])))
        with pytest.raises(UnreadableError, match=r"hole\.mp4: cannot be decoded"):
            film.read(np.arange(COUNT))
    assert kept.room == 16 * COUNT * 48 * 64 * 3
    assert open_video(row(walk), Decoding(), kept).num_frames == COUNT
    assert kept.room == 15 * COUNT * 48 * 64 * 3


def test_a_webm_file_that_ends_early_is_found_out(tmp_path):
    path = encode(tmp_path / "walk.webm", "libvpx")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(UnreadableError, match=r"walk\.webm: is cut off at [12]\.\d of 4\.0 s"):
        open_video(row(path), Decoding())


def test_a_sound_file_a_missing_file_and_an_empty_segment(walk, tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableError, match="has no video stream"):
        open_video(row(path), Decoding())
    with pytest.raises(UnreadableError, match=r"nowhere\.mp4: no such file"):
        open_video(row(tmp_path / "nowhere.mp4"), Decoding())
    with pytest.raises(UnreadableError, match=r"no frame of 40 lies in the segment that walks\.jsonl, line 1 gives"):
        open_video(row(walk, start=60.0), Decoding())


def test_broken_frame_folders_are_named(tmp_path):
    folder = frame_folder(tmp_path / "walk")
    (folder / "img_00007.jpg").unlink()
    with pytest.raises(UnreadableError, match="frame 7 of 1 to 12 is missing"):
        open_video(row(folder), Decoding())
    with pytest.raises(UnreadableError, match="frame 13 of 8 to 15 is missing"):
        open_video(row(folder, first=8, total=8), Decoding())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableError, match="holds no frames"):
        open_video(row(tmp_path / "empty"), Decoding())
    (folder / "img_00001.jpg").write_bytes((folder / "img_00001.jpg").read_bytes()[:300])
    with pytest.raises(UnreadableError, match=r"img_00001\.jpg: cannot be decoded"):
        open_video(row(folder, first=1, total=6), Decoding()).read(np.arange(6))
    Image.new("RGB", (32, 32)).save(folder / "img_00001.jpg")
    with pytest.raises(UnreadableError, match="several sizes"):
        open_video(row(folder, first=1, total=6), Decoding()).read(np.arange(6))
