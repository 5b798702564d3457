"""Images in a file: a source like any other, decoded once, in parts that are neither lost nor trusted."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_abc.data import Form, Mapped, batches, cached, folder, image_folder
from ddpm_abc.data import cache as room


def some_pictures(tmp_path, monkeypatch):
    "Twenty pictures of noise, ten of each class, in parts of six."
    monkeypatch.setattr(room, "LARGEST_PART", 6)
    rng = np.random.default_rng(0)
    for k in range(20):
        path = tmp_path / "mine" / "ab"[k // 10] / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 8, 3), np.uint8)).save(path)
    return tmp_path / "mine"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    return some_pictures(tmp_path, monkeypatch)


def files_of(home):
    return sorted(p for p in home.rglob("*.png"))


COLOUR = Form((8, 8), 3)


def decode(home, form=COLOUR, **more):
    return cached(home, files_of(home), form, home.parent / "cache", **more)


def test_a_file_gives_what_memory_gives():
    with tempfile.TemporaryDirectory() as tmp, pytest.MonkeyPatch.context() as monkeypatch:
        mine = some_pictures(Path(tmp), monkeypatch)
        form = Form((8, 8), 3)
        source, seen = decode(mine, form)
        in_memory = image_folder(mine, 8, 3)
        everything = torch.arange(20)
        assert torch.equal(source[everything], in_memory.images)
        assert source.shape == (20, 3, 8, 8)
        assert seen["reshaped"] == 20
        some = source.part(torch.tensor([19, 3, 7, 7]))
        assert torch.equal(some[torch.tensor([0, 3])], in_memory.images[[19, 7]])
        assert torch.equal(some.part(torch.tensor([1]))[torch.tensor([0])], in_memory.images[[3]])
        assert torch.equal(some[1:], in_memory.images[[3, 7, 7]])
        with torch.device("meta"):  # it stands for a GPU that a program has made its default
            assert torch.equal(some[1:], in_memory.images[[3, 7, 7]])
        ours, theirs = (batches(x, 6, seed=3) for x in (source, in_memory.images))
        assert all(torch.equal(next(ours), next(theirs)) for _ in range(7))


def test_image_folder_takes_the_file_where_the_pixels_are_many(mine, monkeypatch):
    monkeypatch.setattr(folder, "IN_MEMORY", 20 * 8 * 8 * 3 - 1)
    cache = mine.parent / "cache"
    large = image_folder(mine, 8, 3, cache=cache)
    assert isinstance(large.images, Mapped)
    assert f"decoded into {cache}" in large.describe()
    small = image_folder(mine, 8, 3)
    assert isinstance(small.images, torch.Tensor)
    assert torch.equal(large.in_memory(), small.images)
    assert torch.equal(large.labels, small.labels)
    assert large.notes == small.notes
    part = large.part(torch.tensor([12, 1]))
    assert torch.equal(part.in_memory(), small.images[[12, 1]])
    assert part.labels.tolist() == [1, 0]
    monkeypatch.setattr(folder, "IN_MEMORY", 20 * 8 * 8 * 3)
    assert isinstance(image_folder(mine, 8, 3, cache=cache).images, torch.Tensor)


def times(source):
    return [path.stat().st_mtime_ns for path in source.parts]


def test_nothing_is_decoded_twice(mine, monkeypatch):
    first, _ = decode(mine)
    assert len(first.parts) == 4
    monkeypatch.setattr(room, "_decoders", None)  # nobody is asked to decode
    again, seen = decode(mine)
    assert torch.equal(again[0:20], first[0:20])
    assert seen["reshaped"] == 20


def test_after_a_stop_only_the_rest_is_decoded(mine, monkeypatch):
    good = (mine / "b" / "17.png").read_bytes()
    (mine / "b" / "17.png").write_bytes(b"damaged")
    monkeypatch.setattr(room.os, "cpu_count", lambda: 1)  # one part after the other
    with pytest.raises(RuntimeError, match=r"cannot read the image .*17\.png"):
        decode(mine)
    done = {path: path.stat().st_mtime_ns for path in mine.parent.glob("cache/*")}
    assert {path.suffix for path in done} == {".part"}
    assert len(done) in (2, 3)  # those before; and the one behind, if it was begun already
    (mine / "b" / "17.png").write_bytes(good)
    source, _ = decode(mine)
    assert done.items() <= dict(zip(source.parts, times(source), strict=True)).items()
    assert torch.equal(source[0:20], image_folder(mine, 8, 3).images)


def test_a_change_costs_the_parts_that_it_touches(mine):
    before, _ = decode(mine)
    (mine / "a" / "08.png").unlink()  # in the second part: all images behind it move up
    after, _ = decode(mine)
    assert after.parts[0] == before.parts[0]
    assert not set(after.parts[1:]) & set(before.parts)
    assert torch.equal(after[0:19], before[torch.tensor([k for k in range(20) if k != 8])])


@pytest.mark.parametrize("where", [7 * 3 * 64 + 5, -5])
def test_a_part_that_changed_on_the_disk_is_made_again(where):
    with tempfile.TemporaryDirectory() as tmp, pytest.MonkeyPatch.context() as monkeypatch:
        mine = some_pictures(Path(tmp), monkeypatch)
        source, _ = decode(mine)
        good = source[0:20]
        part = source.parts[1 if where > 0 else 0]
        raw = bytearray(part.read_bytes())
        raw[where % len(raw) if where < 0 else where - 6 * 3 * 64] ^= 1
        part.write_bytes(raw)
        again, seen = decode(mine)
        assert again.parts == source.parts
        assert torch.equal(again[0:20], good)
        assert seen["reshaped"] == 20


@pytest.mark.parametrize(("index", "got"), [(-1, "-1 to -1"), (20, "20 to 20")])
def test_an_index_that_is_out_of_range_blames_no_file(index, got, mine):
    source, _ = decode(mine)
    with pytest.raises(IndexError, match=rf"indices must lie in 0\.\.19, the images there are, got {got}"):
        source[torch.tensor([index])]
    assert source[torch.tensor([], dtype=torch.int64)].shape == (0, 3, 8, 8)


def test_a_mask_chooses_from_a_file_what_it_chooses_from_memory(mine):
    source, _ = decode(mine)
    mask = torch.arange(20) % 3 == 1
    expected = source[torch.tensor([1, 4, 7, 10, 13, 16, 19])]
    assert torch.equal(source[mask], expected)
    assert torch.equal(source.part(mask)[0:7], expected)
    assert torch.equal(source.part(mask)[torch.arange(7) > 4], expected[5:])


@pytest.mark.parametrize(
    ("wrong", "got"),
    [(torch.ones(19, dtype=torch.bool), r"bool \(19,\)"), (3, r"int64 \(\)"), ([[1]], r"int64 \(1, 1\)")],
)
def test_what_is_neither_numbers_nor_a_mask_is_named(wrong, got, mine):
    source, _ = decode(mine)
    for ask in (source.part, source.__getitem__):
        with pytest.raises(IndexError, match=rf"shape \(B,\), or a mask of 20, as images have, got {got}"):
            ask(wrong)
    with pytest.raises(IndexError, match="got -1 to -1"):
        source.part(torch.tensor([-1]))  # at once, and not when it is read


@pytest.mark.parametrize("spoil", [lambda raw: b"", lambda raw: raw[:-1], lambda raw: raw[:100]])
def test_a_part_that_was_cut_off_is_made_again(spoil, mine):
    source, _ = decode(mine)
    good = source[0:20]
    source.parts[2].write_bytes(spoil(source.parts[2].read_bytes()))
    again, _ = decode(mine)
    assert torch.equal(again[0:20], good)


def test_a_part_that_goes_while_it_is_used_is_named(mine):
    source, _ = decode(mine)
    source.parts[3].write_bytes(b"x")
    with pytest.raises(OSError, match=r"\.part ends early: delete it, and it is made again"):
        source[torch.tensor([19])]


def test_a_form_may_hold_numbers_of_numpy(mine, monkeypatch):
    monkeypatch.setattr(folder, "IN_MEMORY", 0)
    one, three = np.int64(8), np.int64(3)
    for size in (one, (one, one)):
        data = image_folder(mine, size, three, cache=mine.parent / "cache")
        assert torch.equal(data.in_memory(), decode(mine)[0][0:20])


def test_what_the_pixels_depend_on_is_in_the_key(mine):
    files = files_of(mine)[:6]
    keys = {room.part_key(mine, files, form) for form in (Form((8, 8)), Form((8, 8), 3), Form((8, 9), 3),
            Form((8, 8), fit="pad"), Form((8, 8), background="black"))}  # fmt: skip
    keys |= {room.part_key(mine, files[1:], Form((8, 8))), room.part_key(mine, files[::-1], Form((8, 8)))}
    os.utime(files[0], ns=(1, 1))
    keys.add(room.part_key(mine, files, Form((8, 8))))
    Image.new("L", (90, 90)).save(files[0])
    os.utime(files[0], ns=(1, 1))
    keys.add(room.part_key(mine, files, Form((8, 8))))
    assert len(keys) == 9
    before = room.part_key(mine, files, Form((8, 8)))
    moved = mine.rename(mine.parent / "moved")
    assert room.part_key(moved, files_of(moved)[:6], Form((8, 8))) == before


def test_large_images_make_small_parts(mine, monkeypatch):
    monkeypatch.setattr(room, "LARGEST_PART", 512)
    source, _ = decode(mine, Form((2900, 2900), 3))  # 25 MB each
    assert (source.per_part, len(source.parts)) == (2, 10)


def python(folder, *lines):
    "Run a script, as a user would who knows nothing of processes."
    script = folder / "script.py"
    script.write_text("\n".join(lines))
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)


def test_those_who_decode_do_not_outlive_their_parent(tmp_path):
    found = python(
        tmp_path,
        "import os",
        "from ddpm_abc.data import cache",
        "with cache._decoders(2) as idle:",
        "    print(*(idle.get().pid for _ in range(2)), flush=True)",
        "    os.kill(os.getpid(), 9)",
    )
    assert found.returncode == -9
    pids = [int(word) for word in found.stdout.split()]
    assert len(pids) == 2
    end = time.monotonic() + 20
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, alive
        time.sleep(0.2)


def test_a_script_needs_no_guard(mine):
    "With multiprocessing, each process would begin the script anew."
    call = "cached(home, sorted(home.rglob('*.png')), Form((8, 8), 3), home.parent / 'cache')"
    found = python(
        mine.parent,
        "from pathlib import Path",
        "from ddpm_abc.data import Form, cached",
        f"home = Path({str(mine)!r})",
        f"print(len({call}[0]))",
    )
    assert (found.stdout, found.stderr) == ("20\n", "")


def test_those_who_decode_import_no_torch():
    seen = room._DECODER.replace("serve()", "print({'torch', 'ddpm_abc'} & sys.modules.keys())")
    command = [sys.executable, "-c", seen, str(Path(room.__file__).parent), *sys.path]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "set()\n"


def test_one_who_decodes_and_ends_is_named(mine):
    with room._decoders(1) as idle:
        decoder = idle.get()
        decoder.kill()
        decoder.wait()
        idle.put(decoder)
        with pytest.raises(RuntimeError, match="decodes images ended, with status -9: out of memory?"):
            room._decode(idle, mine / "x.part", files_of(mine), COLOUR)


def test_what_the_disk_has_against_a_part_is_an_os_error(mine):
    with room._decoders(1) as idle, pytest.raises(OSError, match="No such file or directory: '.*missing"):
        room._decode(idle, mine / "missing" / "x.part", files_of(mine), COLOUR)


def test_a_folder_that_cannot_be_written_to_is_named_with_what_to_do(mine):
    remedy = ": make room, or give another folder for the cache"
    (mine.parent / "file").touch()
    with pytest.raises(OSError, match=rf"cannot write to .*file/cache \(.*\){remedy}"):
        cached(mine, files_of(mine), COLOUR, mine.parent / "file" / "cache")
    missing = mine / "missing"
    with room._decoders(1) as idle, pytest.raises(OSError, match=rf"cannot write to {missing} \(.*{remedy}"):
        room._decode(idle, missing / "x.part", files_of(mine), COLOUR)


def test_what_a_killed_process_left_is_cleared_away_after_a_day(mine):
    decode(mine)
    cache = mine.parent / "cache"
    old, new, other = (cache / name for name in (f"{'a' * 32}.123", f"{'b' * 32}.123", "notes.123"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other, *cache.glob("*.part")):
        os.utime(path, (1, 1))
    decode(mine)
    assert {path.name for path in cache.iterdir() if path.suffix != ".part"} == {new.name, other.name}
    assert len(list(cache.glob("*.part"))) == 4


def test_an_interruption_leaves_no_process_and_no_piece(mine, monkeypatch):
    begun = []
    start = room.Popen
    monkeypatch.setattr(room, "Popen", lambda *args, **more: begun.append(start(*args, **more)) or begun[-1])

    def interrupted(futures):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(room, "as_completed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decode(mine)
    assert begun
    assert all(process.poll() is not None for process in begun)
    assert {path.suffix for path in mine.parent.glob("cache/*")} <= {".part"}
    source, _ = decode(mine)
    assert torch.equal(source[0:20], image_folder(mine, 8, 3).images)


def test_a_disk_that_is_too_small_is_named_before_the_work(mine, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(OSError, match=r"cache needs 0\.0 GB, and its disk has 0\.0 GB free: make room"):
        decode(mine)


def test_a_bar_is_shown_where_it_is_asked_for(mine, capsys):
    decode(mine, progress=True)
    assert "20/20" in capsys.readouterr().err
    decode(mine, Form((4, 4)))
    assert capsys.readouterr().err == ""
