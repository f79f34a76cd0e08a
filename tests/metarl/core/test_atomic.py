import os
import stat

import pytest

from metarl.core.atomic import write_atomically


def test_content_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr("os.fsync", lambda descriptor: steps.append("sync"))
    replace_file = os.replace
    monkeypatch.setattr("os.replace", lambda *names: (steps.append("rename"), replace_file(*names)))
    write_atomically(tmp_path / "file", b"content")
    assert steps == ["sync", "rename", "sync"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_file_has_the_permissions_of_any_other(tmp_path):
    write_atomically(tmp_path / "file", b"")
    (tmp_path / "other").touch()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_a_full_disk_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match="cannot write .*file: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_where_no_file_can_be(tmp_path):
    with pytest.raises(ValueError, match="cannot write .*missing.*: No such file or directory"):
        write_atomically(tmp_path / "missing" / "file", b"")
    with pytest.raises(ValueError, match="cannot write .*: Is a directory"):
        write_atomically(tmp_path, b"")
    (tmp_path / "plain").touch()
    with pytest.raises(ValueError, match="cannot write .*: Not a directory"):
        write_atomically(tmp_path / "plain" / "file", b"")
