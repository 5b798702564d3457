"""The file format: what it says of itself, one bit that has changed, and no stranger's code."""

import hashlib
import json
import os
import pickle
import random
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from small_networks import LINEAR, answer, described, eps, small, write

from ddpm_abc.storage import Metadata, load_weights, read_metadata, save_weights
from ddpm_abc.storage import format as sealed
from ddpm_abc.unet import UNet


def saved(path, **info):
    save_weights(path, eps(), **info)
    return path


def test_a_safetensors_file_is_readable_without_this_library(tmp_path):
    tensors = safetensors.torch.load_file(saved(tmp_path / "w.safetensors"))
    assert tensors.keys() == small().state_dict().keys()


def test_what_a_file_says_of_itself(tmp_path):
    found = read_metadata(saved(tmp_path / "w.safetensors", note="hello"))
    assert (found.kind, found.predicts, found.state) == ("weights", "eps", {})
    assert found.net.pop("kind") == "unet"
    assert UNet(**found.net).config == small().config
    assert found.sched == LINEAR.recipe == {"kind": "linear", "T": 1000, "beta_min": 1e-4, "beta_max": 0.02}
    assert found.info["note"] == "hello"


@pytest.mark.parametrize("name", ["größer.safetensors", "a b {x}.safetensors", "no ending"])
def test_any_name_of_a_file_will_do(name, tmp_path):
    saved(tmp_path / name)
    assert torch.equal(answer(load_weights(tmp_path / name).denoise.net), answer(small()))


def test_a_name_that_is_no_text_is_refused(tmp_path):
    "Linux has such names, and safetensors opens none of them."
    path = tmp_path / "\udcff.safetensors"
    with pytest.raises(
        ValueError, match=r"udcff.safetensors'\) holds bytes that are no text.* give another name"
    ):
        saved(path)
    assert os.listdir(tmp_path) == []
    try:
        path.write_bytes(b"some")
    except OSError:
        return  # this disk has no such names
    with pytest.raises(RuntimeError, match="holds bytes that are no text"):
        read_metadata(path)


# --- what cannot be read is not written ---------------------------------------------------------------------


def deep():
    inner = []
    for _ in range(100_000):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "named"),
    [(object(), "object"), (float("nan"), "float|JSON"), ({1, 2}, "set"), (deep(), "recursion")],
)
def test_save_refuses_what_json_cannot_hold(value, named, tmp_path):
    with pytest.raises(ValueError, match=f"w.safetensors: the file's information must be .*{named}"):
        saved(tmp_path / "w.safetensors", x=value)
    assert os.listdir(tmp_path) == []


def test_numbers_of_numpy_are_noted_as_numbers(tmp_path):
    noted = {"steps": np.int64(5), "loss": np.float32(0.5), "rate": np.float64(0.1), "good": np.bool_(True)}
    path = saved(tmp_path / "w.safetensors", **noted)
    assert {name: read_metadata(path).info[name] for name in noted} == noted
    with pytest.raises(ValueError, match="float values are not JSON compliant|Out of range"):
        saved(path, loss=np.float32("nan"))


@pytest.mark.parametrize(
    ("limit", "what"), [("LARGEST_FILE", "bytes,"), ("LARGEST_HEADER", "bytes of header")]
)
def test_save_refuses_what_is_too_large_to_be_read(limit, what, tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, limit, 1000)
    with pytest.raises(
        ValueError, match=f"was not written: it would have [0-9,]+ {what}.* at most 1,000 are read"
    ):
        saved(tmp_path / "w.safetensors")
    assert os.listdir(tmp_path) == []


def test_lists_come_back_in_the_place_of_tuples():
    metadata = Metadata("weights", {"channels": (1, 2)}, "eps", {}, {}, {})
    assert sealed._as_read("f", metadata).net == {"channels": [1, 2]}


# --- files that are not what they should be -----------------------------------------------------------------


def test_the_files_written_for_these_tests_are_good(tmp_path):
    write(tmp_path / "w.safetensors", described())
    assert torch.equal(answer(load_weights(tmp_path / "w.safetensors").denoise.net), answer(small()))


def test_a_missing_file_is_named(tmp_path):
    for read in (load_weights, read_metadata):
        with pytest.raises(RuntimeError, match="there is no file .*w.safetensors: train first"):
            read(tmp_path / "w.safetensors")
    with pytest.raises(RuntimeError, match="is a folder: name a file in it, as .*/weights.safetensors"):
        load_weights(tmp_path)  # a folder


@pytest.mark.parametrize("keep", [0, 1, 8, 100, 0.5, -1])
def test_a_file_cut_short_is_named(keep, tmp_path):
    path = saved(tmp_path / "w.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    for read in (load_weights, read_metadata):
        with pytest.raises(RuntimeError, match="w.safetensors is damaged"):
            read(path)


def test_every_bit_and_every_length_counts(tmp_path):
    path = saved(tmp_path / "w.safetensors")
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    rng = random.Random(0)
    places = [*range(0, 150, 3), *(rng.randrange(end) for end in [header] * 50 + [len(good)] * 50)]
    for place in places:
        flipped = bytearray(good)
        flipped[place] ^= 1 << rng.randrange(8)
        for bad in (bytes(flipped), good[:place], good[:place] + bytes(1) + good[place:]):
            path.write_bytes(bad)
            for read in (load_weights, read_metadata):
                with pytest.raises(RuntimeError, match="w.safetensors"):
                    read(path)
    path.write_bytes(good)
    load_weights(path)


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    path = saved(
        tmp_path / "w.safetensors", note={"sha256": "f" * 64}
    )  # one of the caller's own does not confuse it
    content = path.read_bytes()
    found = re.search(rb'sha256\\": \\"([0-9a-f]{64})', content)
    assert hashlib.sha256(content.replace(found[1], b"0" * 64)).hexdigest() == found[1].decode()
    assert read_metadata(path).info["note"] == {"sha256": "f" * 64}


def test_no_length_of_the_header_looks_like_a_pickle(tmp_path):
    "A header of 128 bytes, modulo 256, makes the file begin with the byte 80, as pickles do."
    starts = set()
    for n in range(0, 300, 4):
        path = saved(tmp_path / "w.safetensors", note="x" * n)
        starts.add(path.read_bytes()[0])
        load_weights(path)
    assert 0x80 in starts


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "w.safetensors")
    monkeypatch.setattr(sealed, "LARGEST_FILE", 1000)
    with pytest.raises(RuntimeError, match="at most 1,000 are read"):
        load_weights(path)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("pickled", ["torch", "pickle", "old torch"])
def test_a_pickle_stays_closed(pickled, tmp_path):
    path, crater = tmp_path / "w.pt", tmp_path / "crater"
    if pickled == "pickle":
        path.write_bytes(pickle.dumps(Bomb(str(crater))))
    else:
        torch.save(Bomb(str(crater)), path, _use_new_zipfile_serialization=pickled == "torch")
    with pytest.raises(RuntimeError, match="w.pt is a pickle.*save_weights"):
        load_weights(path)
    assert not crater.exists()


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"format": "pt"},
        {"ddpm_abc": "not json"},
        {"ddpm_abc": "[]"},
        {"ddpm_abc": '{"kind": "weights"}'},
        described(format=1),
        described(format=2, net=[1]),
        described(format=4),
        described(format=None),
        described(kind=1),
        described(kind=["weights"]),
        described(info={"deep": None}) | {"ddpm_abc": "[" * 100_000},
        described(net=[1]),
        described(sched=None),
        described(predicts=["v"]),
        described(format=2, net={"channels": [16, 32], "predicts": ["v"]}),
        {
            "ddpm_abc": json.dumps(json.loads(described()["ddpm_abc"])).replace(
                '"info": {}', '"info": {"x": NaN}'
            )
        },
    ],
)
def test_a_file_without_its_description_is_named(header, tmp_path):
    write(tmp_path / "w.safetensors", header)
    with pytest.raises(RuntimeError, match="w.safetensors does not say how its network is built"):
        load_weights(tmp_path / "w.safetensors")


def test_format_2_is_understood(tmp_path):
    "Every network was a UNet then, and what it predicts stood among its arguments."
    for net, predicts in (
        ({"size": 8, "channels": [16, 32]}, "eps"),
        ({"size": 8, "channels": [16, 32], "predicts": "v"}, "v"),
    ):
        write(tmp_path / "w.safetensors", described(format=2, net=net, sched={"kind": "cosine", "T": 30}))
        found = read_metadata(tmp_path / "w.safetensors")
        assert (found.net, found.predicts) == ({"kind": "unet", "size": 8, "channels": [16, 32]}, predicts)
        denoise = load_weights(tmp_path / "w.safetensors").denoise
        assert (denoise.predicts, denoise.sched.T) == (predicts, 30)
