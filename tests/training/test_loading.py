"""The clip loader: the same batches whatever the workers, the start and the processes; nothing unreadable goes unsaid."""

import json
import multiprocessing
import signal

import numpy as np
import psutil
import pytest
import torch
from striking import begin, kill_when

from navloop.configs.videos import AugmentationConfig, ClipsConfig
from navloop.provenance import usable_processors
from navloop.training.augmentation import view_crops
from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding, UnreadableError
from navloop.training.loading import Decoders, create_loader
from navloop.training.manifests import ManifestError, read_manifests
from navloop.training.quarantine import Fault, Quarantine, TooManyUnreadableError
from navloop.training.readers import open_video
from navloop.training.samplers import VIEWS, Clip
from navloop.training.sides import mirror_classes
from navloop.training.videos import write_video

VIDEOS, COUNT = 9, 24
VARIED = AugmentationConfig(crop="resized", flip=0.5, randaugment="rand-m7-n4-mstd0.5-inc1", erasing=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine short films of one colour each, frame k a little brighter than the last, in a list with captions and labels."""
    folder = tmp_path_factory.mktemp("films")
    lines = []
    for number in range(VIDEOS):
        colour = np.array([200 - 20 * number, 20 * number, 90], np.uint8)
        texture = np.random.default_rng(number).integers(0, 30, (48, 64, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", [texture + colour + np.uint8(k) for k in range(COUNT)], 8)
        lines.append({"video": f"{number}.mp4", "captions": [f"walk {number}", f"tour {number}"], "label": number % 3})
    (folder / "films.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def config(folder, **fields):
    fields = {"frames": 4, "size": 32, "stride": 2, "workers": 0, "augmentation": VARIED} | fields
    return ClipsConfig(manifest=(str(folder / "films.jsonl"),), **fields)


def same(one, other):
    return (
        torch.equal(one.frames, other.frames)
        and torch.equal(one.seconds, other.seconds)
        and torch.equal(one.rows, other.rows)
        and torch.equal(one.labels, other.labels)
        and (one.texts, one.sources) == (other.texts, other.sources)
    )


def test_a_batch_holds_what_the_list_says(folder):
    (first, *_) = create_loader(config(folder), batch=4, seed=0, epoch=0)
    assert first.frames.shape == (4, 4, 32, 32, 3) and first.frames.dtype == torch.uint8
    assert first.valid_frames.all() and first.seconds.shape == (4, 4)
    rows = first.rows.tolist()
    assert first.labels.tolist() == [row % 3 for row in rows]
    assert all(text in (f"walk {row}", f"tour {row}") for text, row in zip(first.texts, rows, strict=True))
    assert all(f"{row}.mp4 (" in source for source, row in zip(first.sources, rows, strict=True))
    np.testing.assert_allclose(np.diff(first.seconds), 0.25, atol=1e-5)


def test_workers_change_nothing(folder):
    alone, shared = (
        list(create_loader(config(folder, workers=workers, repeats=2), batch=3, seed=5, epoch=1)) for workers in (0, 2)
    )
    assert len(alone) == 3
    assert all(same(one, other) for one, other in zip(alone, shared, strict=True))


def test_a_pass_goes_on_from_any_batch(folder):
    whole = list(create_loader(config(folder), batch=2, seed=5, epoch=1))
    for start in range(5):
        loader = create_loader(config(folder), batch=2, seed=5, epoch=1, start_batch=start)
        rest = list(loader)
        assert len(rest) == len(loader) == 4 - start and loader.num_batches == 4
        assert all(same(one, other) for one, other in zip(whole[start:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_decoders_that_are_kept_give_the_batches_of_new_ones(folder, workers):
    asked = config(folder, workers=workers)
    decoders = Decoders(asked, read_manifests(asked), Quarantine(VIDEOS, 0.0))
    for epoch in (0, 1, 0):
        fresh = list(create_loader(config(folder, memory_mb=0), batch=3, seed=5, epoch=epoch))
        kept = list(create_loader(asked, batch=3, seed=5, epoch=epoch, decoders=decoders))
        assert all(same(one, other) for one, other in zip(fresh, kept, strict=True))
        next(iter(create_loader(asked, batch=2, seed=7, epoch=9, decoders=decoders)))  # a pass that is given up


def test_closed_decoders_are_told_to_end_and_not_waited_for_in_vain(folder):
    before = set(multiprocessing.active_children())
    asked = config(folder, workers=2)
    decoders = Decoders(asked, read_manifests(asked), Quarantine(VIDEOS, 0.0))
    next(iter(create_loader(asked, batch=2, seed=7, epoch=9, decoders=decoders)))
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == min(2, usable_processors())
    decoders.close()
    assert {worker.exitcode for worker in workers} == {0}  # a worker that hears of nothing is terminated: -15


def load_and_stall(folder, said):
    """Take one batch of 200 kB, name the workers, and read no further: what they made next fills their pipe."""
    loader = create_loader(config(folder, size=64, frames=4, workers=2), batch=4, seed=0, epoch=0)
    batches = iter(loader)
    next(batches)
    said.write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()) + "\n")
    signal.pause()


def test_workers_end_with_a_killed_parent_though_nobody_reads_what_they_made(folder, tmp_path):
    said = tmp_path / "workers"
    kill_when(begin(load_and_stall, folder, said), lambda: said.is_file() and said.read_text().endswith("\n"))
    numbers = [int(number) for number in said.read_text().split()]
    assert len(numbers) == min(2, usable_processors())
    workers = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
    _, alive = psutil.wait_procs(workers, timeout=60)
    for worker in alive:
        worker.kill()
    assert not alive


def test_decoders_for_other_clips_are_refused(folder):
    decoders = Decoders(config(folder), read_manifests(config(folder)), Quarantine(VIDEOS, 0.0))
    with pytest.raises(ValueError, match="the decoders are for clips of another config"):
        create_loader(config(folder, stride=3), batch=3, seed=0, epoch=0, decoders=decoders)
    with pytest.raises(ValueError, match="or for evaluation and not training"):
        create_loader(config(folder), batch=3, seed=0, epoch=0, decoders=decoders, training=False)


def test_large_batches_come_round_the_pipe_as_they_are(folder):
    """Nine of these clips are more than a pipe is for, one is less."""
    fields = {"size": 192, "short_side": 192, "frames": 2, "sampler": "middle"}
    rows = list(read_manifests(config(folder)))
    for batch in (1, 9):
        (alone, *_), (shared, *_) = (
            list(create_loader(config(folder, workers=workers, **fields), batch=batch, seed=1, epoch=0, rows=rows))
            for workers in (0, 1)
        )
        assert same(alone, shared) and shared.frames.shape == (batch, 2, 192, 192, 3)


def test_two_processes_load_the_batches_of_one(folder):
    whole = list(create_loader(config(folder, repeats=2), batch=4, seed=2, epoch=0))
    halves = [
        list(create_loader(config(folder, repeats=2), batch=4, seed=2, epoch=0, rank=rank, world=2)) for rank in (0, 1)
    ]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert len(first) == len(second) == 4
        assert torch.equal(batch.frames, torch.cat((first.frames, second.frames)))
        assert batch.texts == first.texts + second.texts


def test_epochs_and_seeds_differ_and_each_takes_every_row_once(folder):
    orders = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches = list(create_loader(config(folder), batch=3, seed=seed, epoch=epoch))
        orders[seed, epoch] = tuple(torch.cat([batch.rows for batch in batches]).tolist())
        assert sorted(orders[seed, epoch]) == list(range(VIDEOS))
    assert len(set(orders.values())) == 3


def test_the_global_generators_stay_as_they_are(folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(create_loader(config(folder, workers=1), batch=9, seed=0, epoch=0))
    assert torch.equal(torch.rand(2), expected)


def test_repeats_stand_side_by_side_with_other_crops_of_the_same_frames(folder):
    (batch,) = create_loader(config(folder, repeats=3, sampler="middle"), batch=9, seed=0, epoch=0)
    rows = batch.rows.view(9, 3)
    assert (rows == rows[:, :1]).all() and len(batch) == 27
    seconds = batch.seconds.view(9, 3, 4)
    assert (seconds == seconds[:, :1]).all()
    frames = batch.frames.view(9, 3, -1)
    assert (frames[:, 0] != frames[:, 1]).any(1).all()


def test_captions_are_drawn_or_the_first(folder):
    drawn = [create_loader(config(folder), batch=9, seed=0, epoch=epoch) for epoch in range(2)]
    assert {text.split()[0] for loader in drawn for batch in loader for text in batch.texts} == {"walk", "tour"}
    (first,) = create_loader(config(folder, captions="first"), batch=9, seed=0, epoch=0)
    (seen,) = create_loader(config(folder), batch=9, seed=0, epoch=0, training=False)
    assert {text.split()[0] for text in first.texts + seen.texts} == {"walk"}


def test_views_are_those_of_the_samplers_and_crops(folder):
    asked = config(folder, sampler="dense", clips=2, crops=3, stride=3)
    batches = list(create_loader(asked, batch=4, seed=0, epoch=0, training=False))
    assert [len(batch) for batch in batches] == [24, 24, 6]
    assert batches[1].rows.tolist() == [row for row in (4, 5, 6, 7) for _ in range(6)]
    video = open_video(ClipRow(path=str(folder / "5.mp4"), place=""), Decoding(32))
    expected = []
    for view in (0, 1):
        expected += view_crops(video.read(VIEWS["dense"](COUNT, Clip(4, 3), view, 2)), asked)
    np.testing.assert_array_equal(batches[1].frames[6:12], np.stack(expected))


def test_evaluation_takes_every_row_once_whatever_the_processes(folder):
    rows = []
    for rank in (0, 1):
        for batch in create_loader(config(folder), batch=4, seed=0, epoch=0, training=False, rank=rank, world=2):
            rows += batch.rows.tolist()
    assert sorted(rows) == list(range(VIDEOS))


def spoil(folder, tmp_path, broken):
    """Copy the list with some videos that are empty files."""
    lines = [json.loads(line) for line in (folder / "films.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line["video"] = str(tmp_path / f"empty{number}.mp4" if number in broken else folder / line["video"])
        if number in broken:
            (tmp_path / f"empty{number}.mp4").touch()
    (tmp_path / "films.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def test_another_video_stands_in_for_an_unreadable_one_and_is_told(folder, tmp_path, caplog):
    spoilt = config(spoil(folder, tmp_path, {4}), max_unreadable=0.2)
    quarantine = Quarantine(VIDEOS, 0.2, tmp_path / "run" / "unreadable.jsonl")
    batches = list(create_loader(spoilt, batch=3, seed=0, epoch=0, quarantine=quarantine))
    assert [len(batch) for batch in batches] == [3, 3, 3]
    assert 4 not in torch.cat([batch.rows for batch in batches])
    assert list(quarantine.reasons) == [(str(tmp_path / "empty4.mp4"), 4)]
    assert "empty4.mp4: cannot be decoded" in caplog.text and "stands in for it (1 of 9 videos (11.11%)" in caplog.text
    # The others are as if nothing had happened, and so is the batch when the list is known beforehand.
    clean = list(create_loader(config(folder), batch=3, seed=0, epoch=0))
    place = torch.cat([batch.rows for batch in clean]).tolist().index(4)
    for number, (one, other) in enumerate(zip(clean, batches, strict=True)):
        differ = (one.frames != other.frames).flatten(1).any(1).tolist()
        assert differ == [3 * number + k == place for k in range(3)]
    again = Quarantine(VIDEOS, 0.2, tmp_path / "run" / "unreadable.jsonl")
    assert all(
        same(one, other)
        for one, other in zip(batches, create_loader(spoilt, batch=3, seed=0, epoch=0, quarantine=again), strict=True)
    )


def test_what_stands_in_does_not_depend_on_how_far_the_reading_came(folder, tmp_path):
    """A film with a hole fails where frames are read, or as it is opened where whole films are kept, or is known from before."""
    spoilt = config(spoil(folder, tmp_path, {4}), max_unreadable=0.5, sampler="sparse", frames=20)
    data = bytearray((folder / "4.mp4").read_bytes())
    data[-len(data) // 4 :] = bytes(-(-len(data) // 4))
    listed = tmp_path / "unreadable.jsonl"

    def batches(epoch, memory_mb=0):
        asked = spoilt.model_copy(update={"memory_mb": memory_mb})
        quarantine = Quarantine(VIDEOS, 0.5, listed)
        return list(create_loader(asked, batch=3, seed=0, epoch=epoch, quarantine=quarantine))

    empty = [batches(epoch) for epoch in range(3)]
    listed.unlink()
    (tmp_path / "empty4.mp4").write_bytes(data)
    for memory_mb in (0, 64):
        for epoch, expected in enumerate(empty):
            found = batches(epoch, memory_mb)
            assert "empty4.mp4" in listed.read_text()
            assert all(same(one, other) for one, other in zip(expected, found, strict=True))


def test_a_part_of_a_damaged_video_that_can_be_read_is_read_whatever_is_listed(folder, tmp_path):
    rows = list(read_manifests(config(folder)))[:3]
    quarantine = Quarantine(3, 1.0)
    clean = list(create_loader(config(folder), batch=3, seed=0, epoch=0, rows=rows))
    quarantine.add(Fault(1, rows[1].path, "another part of it"))
    known = list(create_loader(config(folder), batch=3, seed=0, epoch=0, rows=rows, quarantine=quarantine))
    assert all(same(one, other) for one, other in zip(clean, known, strict=True))


def test_a_segment_that_does_not_exist_leaves_the_other_segments_of_its_video_alone(folder):
    path = str(folder / "2.mp4")
    rows = [ClipRow(path=path, place=f"line {k}", start=start) for k, start in enumerate((0.0, 99.0, 1.0))]
    quarantine = Quarantine(3, 0.5)
    for _ in range(2):
        loader = create_loader(
            config(folder), batch=3, seed=0, epoch=0, training=False, rows=rows, quarantine=quarantine
        )
        assert [batch.rows.tolist() for batch in loader] == [[0, 2]]
    assert "line 1 gives (start 99.0" in next(iter(quarantine.reasons.values()))


def test_evaluation_leaves_unreadable_videos_out_and_counts_them(folder, tmp_path):
    loader = create_loader(
        config(spoil(folder, tmp_path, {1, 3, 4}), max_unreadable=0.5), batch=2, seed=0, epoch=0, training=False
    )
    assert [batch.rows.tolist() for batch in loader] == [[0], [2], [5], [6, 7], [8]]
    assert loader.quarantine.summary() == "3 of 9 videos (33.33%) could not be read"


def test_too_many_unreadable_videos_stop_the_run(folder, tmp_path):
    spoilt = config(spoil(folder, tmp_path, {1, 3, 4}), max_unreadable=0.25, workers=1)
    with pytest.raises(TooManyUnreadableError, match=r"3 of 9 videos \(33\.33%\).*more than the 25\.00%"):
        list(create_loader(spoilt, batch=3, seed=0, epoch=0))


def test_nothing_readable_at_all_stops_the_run(folder, tmp_path):
    spoilt = config(spoil(folder, tmp_path, set(range(VIDEOS))), max_unreadable=1.0)
    with pytest.raises(UnreadableError, match="16 videos in a row could not be read; "):
        list(create_loader(spoilt, batch=3, seed=0, epoch=0))


def test_lists_of_several_kinds_together_have_what_all_have(folder, tmp_path):
    (tmp_path / "more.csv").write_text(f"{folder / '0.mp4'} 2\n")
    mixed = ClipsConfig(
        manifest=(str(folder / "films.jsonl"), str(tmp_path / "more.csv")), frames=4, size=32, workers=0
    )
    (batch,) = create_loader(mixed, batch=10, seed=0, epoch=0, training=False)
    assert batch.texts is None and batch.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 2]


def test_a_row_may_have_its_own_stride(folder):
    rows = [ClipRow(path=str(folder / "0.mp4"), place="", stride=stride) for stride in (1, None)]
    (batch,) = create_loader(config(folder, stride=3), batch=2, seed=0, epoch=0, training=False, rows=rows)
    np.testing.assert_allclose(np.diff(batch.seconds), [[0.125] * 3, [0.375] * 3], atol=1e-5)


def test_a_word_in_the_path_gives_another_stride(folder):
    rows = [
        ClipRow(path=str(folder / name), place="", stride=stride)
        for name, stride in (("0.mp4", None), ("1.mp4", None), ("1.mp4", 4))
    ]
    asked = config(folder, stride=3, strides={"nowhere": 5, "1.mp4": 2})
    (batch,) = create_loader(asked, batch=3, seed=0, epoch=0, training=False, rows=rows)
    np.testing.assert_allclose(np.diff(batch.seconds), [[0.375] * 3, [0.25] * 3, [0.5] * 3], atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_frame_a_second_is_padded_where_the_video_is_short(folder, training):
    """Films of 24 frames at 8 a second: seconds 0, 1 and 2; of the last part alone, one."""
    rows = [
        ClipRow(path=str(folder / "3.mp4"), place="", start=start, captions=("walk",), label=1) for start in (None, 2.5)
    ]
    asked = config(folder, sampler="seconds", frames=5, augmentation=AugmentationConfig(crop="center"), repeats=1)
    (batch,) = create_loader(asked, batch=2, seed=0, epoch=0, training=training, rows=rows)
    order = batch.rows.argsort()
    assert batch.valid_frames[order].tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4]
    np.testing.assert_allclose(batch.seconds[order], [[0, 1, 2, 2, 2], [2.5] * 5], atol=1e-5)
    assert (batch.frames[~batch.valid_frames] == 0).all() and (
        batch.frames[batch.valid_frames].amax((1, 2, 3)) > 0
    ).all()
    video = open_video(rows[0], Decoding(32))
    expected = view_crops(video.read(np.array([0, 8, 16])), asked)[0]
    np.testing.assert_array_equal(batch.frames[order[0], :3], expected)


def test_a_frame_a_second_takes_the_video_as_one_clip(folder):
    with pytest.raises(ValueError, match="clips 2: the sampler `seconds` takes a whole video as 1 clip"):
        config(folder, sampler="seconds", clips=2)


def sided(folder, tmp_path, mirror, **fields):
    """The films of `folder` as two classes, with words that take sides, seen in a mirror by that chance."""
    lines = [
        {
            "video": str(folder / f"{n}.mp4"),
            "caption": f"turn {side} at door {n}, right beside it",
            "label": f"turn_{side}",
        }
        for n, side in enumerate(["left", "right"] * 4)
    ]
    (tmp_path / "sided.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "classes.txt").write_text("stop\nturn_right\nturn_left\n")
    asked = {"classes": str(tmp_path / "classes.txt"), "sampler": "seconds", "size": 48} | fields
    augmentation = AugmentationConfig(crop="center", mirror=mirror)
    return config(tmp_path, augmentation=augmentation, **asked).model_copy(
        update={"manifest": (str(tmp_path / "sided.jsonl"),)}
    )


def test_in_a_mirror_frames_words_and_classes_change_sides(folder, tmp_path):
    (plain,), (turned,), (some,) = (
        create_loader(sided(folder, tmp_path, mirror), batch=8, seed=3, epoch=0) for mirror in (0.0, 1.0, 0.5)
    )
    assert torch.equal(turned.frames, plain.frames.flip(3)) and not torch.equal(turned.frames, plain.frames)
    for one, other in zip(plain.texts, turned.texts, strict=True):
        assert {one.replace("turn left", "turn right"), one.replace("turn right", "turn left")} == {one, other}
    assert (plain.labels + turned.labels).tolist() == [3] * 8 and 0 not in plain.labels
    over = (some.labels != plain.labels).tolist()
    assert 0 < sum(over) < 8
    for row, is_over in enumerate(over):
        seen = turned if is_over else plain
        assert some.texts[row] == seen.texts[row] and torch.equal(some.frames[row], seen.frames[row])
    (judged,) = create_loader(sided(folder, tmp_path, 1.0), batch=8, seed=3, epoch=0, training=False)
    assert all("turn left" in text for text in judged.texts[::2])


def test_classes_that_a_mirror_does_not_know_are_none_or_refused(folder, tmp_path):
    numbered = config(folder, augmentation=AugmentationConfig(mirror=1.0))
    assert next(iter(create_loader(numbered, batch=8, seed=0, epoch=0))).labels is None
    asked = sided(folder, tmp_path, 0.5)
    assert mirror_classes({"left_ahead": 0, "right_ahead": 1, "stop": 2}) == {0: 1, 1: 0, 2: 2}
    (tmp_path / "classes.txt").write_text("turn_left\nturn_right\nleft shoe\n")
    with pytest.raises(ManifestError, match="class 'left shoe' is 'right shoe' in a mirror, and no class is; add it"):
        create_loader(asked, batch=8, seed=0, epoch=0)
    with pytest.raises(ValueError, match="flip and mirror both turn clips over"):
        AugmentationConfig(flip=0.5, mirror=0.5)


def test_batches_that_cannot_be_are_refused(folder):
    rows = read_manifests(config(folder))
    with pytest.raises(ValueError, match="a batch of 3 does not split over 2 processes"):
        create_loader(config(folder), batch=3, seed=0, epoch=0, world=2, rows=rows)
    with pytest.raises(ValueError, match="9 rows do not fill one batch of 10"):
        create_loader(config(folder), batch=10, seed=0, epoch=0, rows=rows)
    with pytest.raises(ValueError, match="short_side 16 is below size 32"):
        config(folder, short_side=16)
