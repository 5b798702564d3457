"""Files of an earlier day load, answer as they did, and go on. fixtures/README.md says what made them."""

import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_abc.data import batches, digits, labelled_batches
from ddpm_abc.guidance import drop_labels
from ddpm_abc.parameterization import Denoiser, v_weight
from ddpm_abc.schedule import build_schedule
from ddpm_abc.storage import load_checkpoint, load_weights, newest_checkpoint, read_metadata, save_weights
from ddpm_abc.training import EMA, train, warmup_cosine
from ddpm_abc.unet import UNet

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURES / "expected.npz") as f:
        return {name: torch.from_numpy(f[name]) for name in f.files}


@pytest.mark.parametrize(
    ("name", "predicts", "kind"),
    [("eps", "eps", "linear"), ("v", "v", "cosine"), ("labels", "eps", "linear")],
)
def test_weights_of_format_2_answer_as_they_did(name, predicts, kind, expected, tmp_path):
    path = FIXTURES / f"weights-{name}.safetensors"
    given = {"y": expected["y"]} if name == "labels" else {}
    metadata = read_metadata(path)
    assert (metadata.net["kind"], metadata.predicts, metadata.sched["kind"]) == ("unet", predicts, kind)
    denoise, info = load_weights(path)
    assert (denoise.predicts, denoise.sched.T, info["data"]) == (predicts, 30, "noise")
    with torch.no_grad():
        answer = denoise(expected["xt"], expected["t"], **given).eps
    torch.testing.assert_close(answer, expected[f"eps_hat_{name}"])

    save_weights(tmp_path / "w.safetensors", denoise, **info)  # and now as they are written today
    again = load_weights(tmp_path / "w.safetensors").denoise
    with torch.no_grad():
        assert torch.equal(again(expected["xt"], expected["t"], **given).eps, answer)


def taken_up(folder):
    "A run brought back from its newest checkpoint, by the library alone; the steps that follow."
    path, metadata = newest_checkpoint(folder)
    run = metadata.info["run"]
    net = UNet(**{key: value for key, value in metadata.net.items() if key != "kind"})
    denoise = Denoiser(net, build_schedule(metadata.sched), metadata.predicts)
    opt = torch.optim.AdamW(net.parameters(), lr=run["lr"], weight_decay=0.01)
    ema, generator = EMA(net), torch.Generator()
    step = load_checkpoint(path, denoise, opt, ema=ema, generator=generator)
    data, order = digits(), {"batch_size": run["batch_size"], "seed": run["seed"], "start": step}
    cursor = batches(data.images, **order)
    if run["labels"]:
        pairs = labelled_batches(data.images, data.labels, **order)
        cursor = ((x0, drop_labels(y, 10, generator=generator)) for x0, y in pairs)
    loop = train(
        denoise,
        islice(cursor, 3),
        opt,
        ema=ema,
        generator=generator,
        lr_factor=lambda step: warmup_cosine(step / 6),
        start=step,
    )
    return denoise, list(loop)


@pytest.mark.parametrize("name", ["eps", "v-labels"])
def test_a_run_that_began_before_goes_on(name, expected):
    with pytest.warns(UserWarning, match=r"format was 'unknown' and is '3'.*bits may differ"):
        denoise, steps = taken_up(FIXTURES / f"run-{name}")
    assert [done.step for done in steps] == [4, 5, 6]
    t, losses = (torch.stack([getattr(done, part) for done in steps]) for part in ("t", "losses"))
    assert torch.equal(t, expected[f"t_{name}"])
    was = expected[f"losses_{name}"]  # squared errors of eps; today those of what the network predicts
    if denoise.predicts == "v":
        was = was * v_weight(denoise.sched)[t]
    torch.testing.assert_close(losses.double(), was.double(), rtol=1e-3, atol=0)


def test_what_a_run_that_began_before_says_of_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path, metadata = newest_checkpoint(FIXTURES / "run-v-labels")
    assert path.name == "checkpoint-3.safetensors"
    assert (metadata.kind, metadata.predicts, metadata.state["step"]) == ("checkpoint", "v", 3)
    assert metadata.net == {
        "kind": "unet",
        "in_channels": 1,
        "size": 28,
        "channels": [4, 8],
        "blocks": 1,
        "attention_at": [],
        "groups": 2,
        "n_classes": 11,
    }
    assert metadata.info["run"]["predict"] == "v"
