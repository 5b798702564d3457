"""Files are written whole or not at all, and a folder has one owner."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_abc.storage import atomic, clean_temporary, lock_folder, write_atomically

# --- writing ------------------------------------------------------------------------------------------------


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "f"
    for data in (b"a long first content", b"short", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert os.listdir(tmp_path) == ["f"]


def test_write_gives_the_file_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_write_forces_the_bytes_to_the_disk_before_they_take_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def noted(f):
        is_folder = stat.S_ISDIR(os.fstat(f).st_mode)
        done.append("folder" if is_folder else f"file of {os.fstat(f).st_size} bytes")
        fsync(f)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("name"), replace(a, b)))
    write_atomically(tmp_path / "f", b"content")
    assert done == ["file of 7 bytes", "name", "folder"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(where, error, tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_drive_that_cannot_force_a_folder_to_the_disk_still_takes_files(tmp_path, monkeypatch):
    fsync = os.fsync

    def as_on_a_network_drive(f):
        if stat.S_ISDIR(os.fstat(f).st_mode):
            raise OSError("Invalid argument")
        fsync(f)

    monkeypatch.setattr(os, "fsync", as_on_a_network_drive)
    write_atomically(tmp_path / "f", b"old")
    write_atomically(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


def test_write_names_a_missing_folder(tmp_path):
    with pytest.raises(OSError, match="there is no folder .*nowhere"):
        write_atomically(tmp_path / "nowhere" / "f", b"")


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    for name in (
        ".checkpoint-3.safetensors.123.tmp",
        ".loss.csv.9.tmp",
        ".mine.tmp",
        "other.12.tmp",
        ".lock",
    ):
        (tmp_path / name).touch()
    removed = sorted(p.name for p in clean_temporary(tmp_path))
    assert removed == [".checkpoint-3.safetensors.123.tmp", ".loss.csv.9.tmp"]
    assert sorted(os.listdir(tmp_path)) == [".lock", ".mine.tmp", "other.12.tmp"]


# --- owning a folder ----------------------------------------------------------------------------------------

needs_locks = pytest.mark.skipif(atomic.fcntl is None, reason="this system has no such locks")


@needs_locks
def test_a_folder_has_one_owner(tmp_path):
    with lock_folder(tmp_path):
        message = rf"another run is at work in .* \(process {os.getpid()}\): wait .* --out"
        with pytest.raises(RuntimeError, match=message), lock_folder(tmp_path):
            pass
        assert os.listdir(tmp_path) == [".lock"]
    assert os.listdir(tmp_path) == []
    with lock_folder(tmp_path):  # free again
        pass


@needs_locks
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    script = (
        "import os, sys; from ddpm_abc.storage import lock_folder; "
        f"owner = lock_folder({str(tmp_path)!r}); owner.__enter__(); "
        "print('mine', flush=True); os.kill(os.getpid(), 9)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, "mine\n"), done.stderr
    assert os.listdir(tmp_path) == [".lock"]
    with lock_folder(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert os.listdir(tmp_path) == []


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "fcntl", None)
    message = "cannot lock .*: see to it that no other run writes there"
    with pytest.warns(UserWarning, match=message), lock_folder(tmp_path):
        pass


@needs_locks
def test_a_drive_without_locks_too(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic.fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="cannot lock"), lock_folder(tmp_path):
        pass
