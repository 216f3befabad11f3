"""Frames out of video files: those of a plain decoding of the whole file, whatever the codec, and no more read than needed."""

import struct

import av
import decord
import numpy as np
import pytest

from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding, UnreadableError, VideoFile
from navloop.training.readers import Films, open_video
from navloop.training.videos import write_video

COUNT, HEIGHT, WIDTH, FPS = 220, 48, 64, 25
OPEN = "keyint=12:min-keyint=12:open-gop=1"
CODECS = {
    "key frames far apart": ("mp4", "libx264", {"g": "250"}),
    "key frames close together": ("mp4", "libx264", {"g": "4", "bf": "2"}),
    "key frames alone": ("mov", "mjpeg", {}),
    "frames before their key frame": ("mp4", "libx264", {"x264-params": OPEN}),
    "the same in H.265": ("mp4", "libx265", {"x265-params": f"{OPEN}:log-level=none"}),
    "Matroska": ("mkv", "libx264", {"g": "3", "bf": "2"}),
    "VP8": ("webm", "libvpx", {"g": "30"}),
    "VP9": ("webm", "libvpx-vp9", {"g": "30"}),
    "AVI": ("avi", "mpeg4", {"g": "12", "bf": "2"}),
    "a transport stream": ("ts", "libx264", {"g": "20"}),
    "an elementary stream without time stamps": ("h264", "libx264", {"g": "20"}),
}


def pictures(count=COUNT, height=HEIGHT, width=WIDTH):
    """Blocks of random colour, which move: no two frames alike."""
    rng = np.random.default_rng(0)
    block = np.kron(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    return [np.roll(block, (k, 3 * k), (0, 1)) // 2 + np.uint8(k % 100) for k in range(count)]


def encode(path, codec, options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.bit_rate = WIDTH, HEIGHT, 1_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def plainly(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """A film of eleven groups of twenty frames."""
    path = tmp_path_factory.mktemp("films") / "groups.mp4"
    write_video(path, pictures(), FPS, gop=20)
    return path


@pytest.mark.parametrize("name", CODECS)
def test_any_frames_are_those_of_a_plain_decoding(name, tmp_path):
    suffix, codec, options = CODECS[name]
    path = encode(tmp_path / f"film.{suffix}", codec, options)
    expected, video = plainly(path), VideoFile(path, Decoding())
    assert video.num_frames == len(expected) == COUNT
    rng = np.random.default_rng(1)
    for _ in range(8):
        indices = rng.integers(COUNT, size=rng.integers(1, 7))
        np.testing.assert_array_equal(video.read(indices), expected[indices])
    window = np.arange(150, 200, 4)
    np.testing.assert_array_equal(video.read(window), expected[window])
    np.testing.assert_allclose(video.seconds(window), window / FPS, atol=2e-3)


def test_frames_and_seconds_equal_those_of_decord(groups):
    reader, video = decord.VideoReader(str(groups)), VideoFile(groups, Decoding())
    assert video.num_frames == len(reader)
    indices = np.array([0, 3, 77, 78, 219])
    np.testing.assert_array_equal(video.read(indices), reader.get_batch(indices).asnumpy())
    np.testing.assert_allclose(video.seconds(indices), reader.get_frame_timestamp(indices)[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    "turn", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)], ids=["quarter", "half", "three quarters"]
)
def test_films_are_turned_upright_as_decord_turns_them(tmp_path, turn):
    path = tmp_path / "turned.mp4"
    write_video(path, pictures(4, 64, 128), FPS)
    data, one = bytearray(path.read_bytes()), 1 << 16
    a, b, c, d = (one * part for part in turn)
    matrix = data.find(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    expected = decord.VideoReader(str(path)).get_batch([2]).asnumpy()
    np.testing.assert_array_equal(VideoFile(path, Decoding()).read(np.array([2])), expected)


def zeroed(film, path, packets):
    """Copy a film with the pictures of some packets overwritten."""
    with av.open(str(film)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(film.read_bytes())
    for pos, size in places[packets]:
        data[pos : pos + size] = bytes(size)
    path.write_bytes(data)
    return path


def test_what_lies_before_the_key_frame_is_not_decoded(groups, tmp_path):
    """The film is ruined up to its second-last group, which an access to the last ones must not notice."""
    video = VideoFile(zeroed(groups, tmp_path / "ruined.mp4", slice(1, 170)), Decoding())
    indices = np.array([181, 190, 219])
    np.testing.assert_array_equal(video.read(indices), plainly(groups)[indices])
    row = ClipRow(path=str(tmp_path / "ruined.mp4"), place="", start=7.2, end=8.0)
    np.testing.assert_array_equal(open_video(row, Decoding()).read(np.arange(20)), plainly(groups)[180:200])
    with pytest.raises(UnreadableError, match=r"ruined\.mp4: cannot be decoded"):
        video.read(np.array([100]))


def test_a_frame_that_no_longer_decodes_is_found_out_and_the_others_are_read(groups, tmp_path):
    video = VideoFile(zeroed(groups, tmp_path / "hurt.mp4", slice(45, 50)), Decoding())
    np.testing.assert_array_equal(video.read(np.array([0, 39, 60])), plainly(groups)[[0, 39, 60]])
    with pytest.raises(UnreadableError, match=r"hurt\.mp4: cannot be decoded"):
        video.read(np.arange(40, 60))


def test_a_read_that_fails_changes_no_later_one(groups, monkeypatch):
    def lost(*_: object) -> None:
        raise UnreadableError("some frames are lost")

    video = VideoFile(groups, Decoding())
    monkeypatch.setattr(VideoFile, "_by_number", lost)
    with monkeypatch.context() as patch:
        patch.setattr(VideoFile, "_by_stamp", lambda *_: None)
        with pytest.raises(UnreadableError, match="lost"):
            video.read(np.array([40]))
    np.testing.assert_array_equal(video.read(np.array([121])), plainly(groups)[[121]])


def test_a_picture_with_scrambled_bits_is_not_passed_off_as_whole(groups, tmp_path):
    with av.open(str(groups)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.is_keyframe][2]
    data = bytearray(groups.read_bytes())
    data[place + size // 2 : place + size] = np.random.default_rng(0).bytes(size - size // 2)
    path = tmp_path / "scrambled.mp4"
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match=r"scrambled\.mp4: cannot be decoded"):
        VideoFile(path, Decoding()).read(np.array([40]))


def test_frames_of_vp8_that_are_never_shown_are_not_counted(tmp_path):
    path = encode(tmp_path / "film.webm", "libvpx", {"g": "30"})
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data, hidden = bytearray(path.read_bytes()), (10, 11, 100)
    for number in hidden:
        data[data.index(packets[number])] &= ~0x10  # the bit that has a frame shown
    path.write_bytes(data)
    expected, video = plainly(path), VideoFile(path, Decoding())
    assert video.num_frames == len(expected) == COUNT - 3
    indices = np.array([9, 10, 97, 98, 216])
    np.testing.assert_array_equal(video.read(indices), expected[indices])
    np.testing.assert_allclose(video.seconds(indices), np.array([9, 12, 99, 101, 219]) / FPS, atol=2e-3)


def test_a_file_may_be_read_many_times_and_frames_in_any_order(groups):
    video, expected = VideoFile(groups, Decoding()), plainly(groups)
    for indices in ([7, 7, 3], [219], [0, 219, 0], [20, 19]):
        np.testing.assert_array_equal(video.read(np.array(indices)), expected[indices])


def test_small_films_are_decoded_once_and_stay_what_they_were(groups, tmp_path):
    expected = plainly(groups)
    path = tmp_path / "film.mp4"
    path.write_bytes(groups.read_bytes())
    row = ClipRow(path=str(path), place="", start=2.0, end=4.0)
    films = Films(Decoding(), 16 * expected.nbytes)
    np.testing.assert_array_equal(open_video(row, Decoding(), films).read(np.arange(50)), expected[50:100])
    path.unlink()  # nobody needs it any more
    again = open_video(row, Decoding(), films)
    frames = again.read(np.array([3, 3, 0]))
    np.testing.assert_array_equal(frames, expected[[53, 53, 50]])
    np.testing.assert_allclose(again.seconds(np.array([0, 49])), [2.0, 3.96], atol=1e-3)
    frames[:] = 0  # a clip is the caller's own
    np.testing.assert_array_equal(again.read(np.array([3])), expected[[53]])


def test_films_are_kept_while_there_is_room_and_none_takes_more_than_its_share(groups, tmp_path):
    size = plainly(groups).nbytes
    paths = [tmp_path / f"{number}.mp4" for number in range(18)]
    for path in paths:
        path.write_bytes(groups.read_bytes())
    roomy, tight = Films(Decoding(), 16 * size), Films(Decoding(), 16 * size - 16)
    for films in (roomy, tight):
        for path in paths:
            films.open(path)
    for path in paths:
        path.unlink()
    for path in paths[:16]:
        assert roomy.open(path).read(np.array([5])).shape == (1, HEIGHT, WIDTH, 3)
    with pytest.raises(UnreadableError, match=r"17\.mp4: "):
        roomy.open(paths[17]).read(np.array([5]))
        roomy.open(paths[17]).read(np.array([5]))
    with pytest.raises(UnreadableError, match=r"0\.mp4: no such file"):
        tight.open(paths[0]).read(np.array([5]))
        tight.open(paths[0]).read(np.array([5]))
