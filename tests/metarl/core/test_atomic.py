import os
import stat
import subprocess
import sys

import pytest

from metarl.core.atomic import remove_stale, write_atomically


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


def test_chunks_are_written_one_after_the_other(tmp_path):
    path = tmp_path / "file"

    def chunks():
        for number in range(3):
            assert not path.exists()
            yield bytes([number]) * 2

    write_atomically(path, chunks())
    assert path.read_bytes() == b"\0\0\1\1\2\2"


def test_an_error_of_the_chunks_is_their_own(tmp_path):
    (tmp_path / "file").write_bytes(b"old")

    def broken():
        yield b"new"
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="^the source is gone$"):
        write_atomically(tmp_path / "file", broken())
    assert (tmp_path / "file").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


KILLED = """
import os, signal, sys
from pathlib import Path
import metarl
from metarl.core.atomic import write_atomically

def chunks():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), chunks())
"""


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".keep.tmp").touch()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file")], check=False)
    (left,) = set(tmp_path.iterdir()) - {tmp_path / ".keep.tmp"}

    def chunks():
        assert left.exists()
        remove_stale(tmp_path)
        assert not left.exists()
        yield b"whole"

    write_atomically(tmp_path / "file", chunks())
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert {each.name for each in tmp_path.iterdir()} == {"file", ".keep.tmp"}
    remove_stale(tmp_path / "missing")


FULL = """
import resource, sys
from pathlib import Path
import metarl
from metarl.core.atomic import CannotWrite, write_atomically

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), (bytes(300) for _ in range(1000)))
except CannotWrite as error:
    print(error)
"""


def test_a_disk_that_fills_between_the_chunks(tmp_path):
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {path}: File too large\n"
    assert list(tmp_path.iterdir()) == []
