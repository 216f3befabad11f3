"""Files are whole or absent."""

import errno

import pytest

from navloop.files import fingerprint, write_text, written_aside


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "result.json"
    write_text(target, "whole")
    with pytest.raises(KeyboardInterrupt), written_aside(target) as aside:
        aside.write_text("hal")
        raise KeyboardInterrupt
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to the folder") as error:
        write_text(tmp_path / "file" / "below" / "x.txt", "text")
    assert str(tmp_path / "file" / "below") in str(error.value)


def test_a_full_disk_names_the_file_that_did_not_fit(tmp_path):
    with pytest.raises(OSError, match="No space left") as error, written_aside(tmp_path / "big.glb"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "big.glb")
    assert list(tmp_path.iterdir()) == []


def test_new_files_get_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_fingerprint_depends_on_content_and_on_where_it_is_cut(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    assert fingerprint(tmp_path / "a") == fingerprint(b"one") != fingerprint(b"two")
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")
