"""Networks in other programs: ONNX under onnxruntime against torch, noise against its authors' known answers,
the paper's network under diffusers' own pipeline."""

import base64
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from shell import done, refused
from small_networks import LINEAR, small

from ddpm_abc import export
from ddpm_abc.guidance import guided
from ddpm_abc.paper_unet import PaperUNet, load_diffusers
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, sample, spaced_times
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.solvers import ddim
from ddpm_abc.storage import pretrained
from ddpm_abc.storage.weights import description_of

PAGE = Path(__file__).parent.parent / "site/static/draw"


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("onnxruntime")
    return pretrained("mnist-labels").denoise


# --- ONNX ---------------------------------------------------------------------------------------------------


def test_onnx_answers_as_torch_does(tmp_path):
    "In 32 bits, for batches of another size than the one it was traced with, and with its own schedule."
    pytest.importorskip("onnxruntime")
    net, path = small(cls=PaperUNet), tmp_path / "net.onnx"
    net.autocast_dtype = torch.bfloat16  # as `prepare` may have set it
    denoise = Denoiser(net, linear_schedule(T=100, beta_min=1e-3, beta_max=0.2), "x0")
    noted = {"steps": 7, "half": True, "path": "a", "denoise": None}  # names that the call has too
    export.save_onnx(path, denoise, half=False, info=noted)
    assert export.onnx_error(path, denoise, n=5) < 1e-5
    back = export.load_onnx(path, threads=1)
    assert back.predicts == "x0"
    assert torch.equal(back.sched.beta, denoise.sched.beta)
    assert back.net.notes["info"] == noted
    assert back.net.config == json.loads(json.dumps(description_of(net)))
    net.autocast_dtype = None
    xt = torch.randn(3, *net.image_shape)
    assert (back(xt, 40).x0 - denoise(xt, 40).x0).abs().max() < 1e-4
    assert net.training


def test_onnx_of_half_the_size_rounds_weights_and_nothing_else(tmp_path):
    pytest.importorskip("onnxruntime")
    net, path = small(n_classes=4, channels=(16,)), tmp_path / "net.onnx"
    export.save_onnx(path, Denoiser(net, LINEAR))
    rounded = small(n_classes=4, channels=(16,))
    with torch.no_grad():
        for p in rounded.parameters():
            if p.numel() >= 512:
                p.copy_(p.half().float())
    assert export.onnx_error(path, Denoiser(rounded, LINEAR)) < 1e-5
    assert 1e-5 < export.onnx_error(path, Denoiser(net, LINEAR)) < 1e-2


def test_onnx_is_written_whatever_the_default_precision(tmp_path):
    pytest.importorskip("onnxruntime")
    torch.set_default_dtype(torch.float64)
    denoise = Denoiser(small().float(), LINEAR)
    export.save_onnx(tmp_path / "net.onnx", denoise, half=False)
    assert export.onnx_error(tmp_path / "net.onnx", denoise) < 1e-4


def test_onnx_refuses_what_it_cannot_write(monkeypatch, tmp_path):
    with pytest.raises(TypeError, match="UNet"):
        export.onnx_model(Denoiser(torch.nn.Identity(), LINEAR))
    onnx = pytest.importorskip("onnx")
    make, x = onnx.helper, [onnx.helper.make_tensor_value_info(name, 1, [600]) for name in "ab"]
    large = onnx.numpy_helper.from_array(np.full(600, 1e6, np.float32), "large")
    graph = make.make_graph([make.make_node("Add", ["a", "large"], ["b"])], "add", x[:1], x[1:], [large])
    strange = make.make_model(graph, ir_version=8, opset_imports=[make.make_opsetid("", 20)])
    notes = dict.fromkeys(("net", "predicts", "schedule", "beta", "alpha_bar"), "null")
    for missing in (notes.keys(), {"beta"}, {"schedule"}):
        kept = {f"ddpm_abc.{name}": notes[name] for name in notes.keys() - missing}
        onnx.helper.set_model_props(strange, kept)
        (tmp_path / "strange.onnx").write_bytes(strange.SerializeToString())
        with pytest.raises(ValueError, match="save_onnx"):
            export.load_onnx(tmp_path / "strange.onnx")
    with pytest.raises(FloatingPointError, match=r"large holds numbers that 16 bits cannot.*half=False"):
        export._store_half(strange)

    def not_there(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(export, "import_module", not_there)
    with pytest.raises(RuntimeError, match=r"No module named 'onnx'.*ddpm_abc\[export\]"):
        export.onnx_model(Denoiser(small(), LINEAR))


@pytest.mark.parametrize("held", [b"", b"no network", b"PK\x03\x04"])
def test_another_file_is_no_onnx_network(held, tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "other.onnx").write_bytes(held)
    with pytest.raises(ValueError, match=r"other.onnx is no ONNX file that onnxruntime reads"):
        export.load_onnx(tmp_path / "other.onnx")
    with pytest.raises(FileNotFoundError):
        export.load_onnx(tmp_path / "none.onnx")


def test_the_packaged_network_draws_the_same_digits(digits):
    "The file that the page Draw loads is this network; the same seed gives the same images to a grey level."
    path = PAGE / "mnist-labels.onnx"
    assert path.stat().st_size < 2.2e6
    assert export.onnx_error(path, digits) < 1e-4, "run python tools/page_data.py"
    elsewhere, y = export.load_onnx(path, threads=1), torch.arange(3)
    drawn = []
    for denoise in (digits, elsewhere):
        noise = export.portable_noise(seed=5, n=3)
        told = guided(denoise, y, 10, scale=1.0)
        *_, x = ddim(told, noise(torch.empty(3, 1, 28, 28)), spaced_times(1000, 5), noise)
        drawn.append(x)
    assert (drawn[0] - drawn[1]).abs().max() * 127.5 < 1


def test_an_onnx_network_takes_the_labels_of_its_classes_and_any_precision():
    "To onnxruntime the label -1 is the last class."
    pytest.importorskip("onnxruntime")
    net = export.OnnxNetwork(PAGE / "mnist-labels.onnx", threads=1)
    xt, t, y = torch.zeros(2, 1, 28, 28), torch.tensor([1, 2]), torch.tensor([0, 10])
    assert net(xt.double(), t.int(), y.byte()).equal(net(xt, t, y).double())
    for wrong, got in ((torch.tensor([0, -1]), "-1 to 0"), (torch.tensor([11, 0]), "0 to 11")):
        with pytest.raises(IndexError, match=rf"labels must lie in 0\.\.10, got {got}"):
            net(xt, t, wrong)


def test_what_the_page_is_compared_with_is_what_the_library_says():
    "truth.json: numbers to ten digits, images to a grey level, so that any torch will do."
    pytest.importorskip("onnxruntime")
    from tools import page_data

    kept, now = json.loads(page_data.TRUTH.read_text()), json.loads(json.dumps(page_data.truth()))
    for old, new in zip(kept.pop("images"), now.pop("images"), strict=True):
        a, b = (np.frombuffer(base64.b64decode(x.pop("pixels")), np.uint8).astype(int) for x in (old, new))
        assert old == new
        assert np.abs(a - b).max() <= 1, "run python tools/page_data.py"
    for old, new in zip(kept.pop("walks"), now.pop("walks"), strict=True):
        assert old.pop("end") == pytest.approx(new.pop("end"), abs=1e-9)
        assert old == new
    assert kept.pop("times") == now.pop("times")
    assert kept.keys() == now.keys()
    for name in kept:
        assert kept[name] == pytest.approx(now[name], rel=1e-10), name


# --- noise --------------------------------------------------------------------------------------------------


def words(counter, key):
    return " ".join(f"{x:08x}" for x in export.philox(np.array(counter, np.uint64), key))


def test_philox_gives_its_authors_answers():
    "kat_vectors of Random123, philox 4x32 10."
    assert words([0] * 4, (0, 0)) == "6627e8d5 e169c58d bc57ac4c 9b00dbd8"
    ones = 0xFFFFFFFF
    assert words([ones] * 4, (ones, ones)) == "408f276d 41c83b0e a20bc7c6 6d5451fd"
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert words(pi, (0xA4093822, 0x299F31D0)) == "d16cfe09 94fdcceb 5001e420 24126ea1"


def test_portable_normals_are_normal_and_each_stands_alone():
    z = export.portable_normals(seed=1, image=2, draw=3, n=200_000)
    assert z.dtype == np.float64
    for power, expected in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((z**power).mean() - expected) < 0.04
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.01
    assert np.array_equal(export.portable_normals(1, 2, 3, 7), z[:7])
    for other in ((9, 2, 3), (1, 9, 3), (1, 2, 9), (1 + 2**32, 2, 3)):
        assert abs(np.corrcoef(export.portable_normals(*other, 10_000), z[:10_000])[0, 1]) < 0.05


def test_portable_noise_belongs_to_image_and_draw():
    x, noise, alone = (
        torch.empty(3, 1, 4, 5),
        export.portable_noise(7, 3, first=2),
        export.portable_noise(7, 1, 3),
    )
    first, second = noise(x), noise(x)
    assert torch.equal(first[1:2], alone(x[:1]))
    assert torch.equal(second[1:2], alone(x[:1]))
    expected = torch.from_numpy(export.portable_normals(7, 4, 1, 20)).float().reshape(1, 4, 5)
    assert torch.equal(second[2], expected)
    with pytest.raises(ValueError, match="for a batch of 3, got 2"):
        noise(x[:2])
    with pytest.raises(ValueError, match="seed must lie in"):
        export.portable_noise(-1, 3)


@pytest.mark.parametrize(("place", "limit"), [(0, 2**64), (1, 2**32), (2, 2**32)])
def test_portable_normals_are_those_of_numbers_in_range(place, limit):
    for outside in (-1, limit):
        told = [3, 4, 5]
        told[place] = outside
        with pytest.raises(ValueError, match=rf"the others below 2\^32, got .*{outside}"):
            export.portable_normals(*told, 4)
        told[place] = limit - 1
        assert export.portable_normals(*told, 4).shape == (4,)


# --- diffusers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_diffusers_pipeline_draws_the_same_images(predicts, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    build = {"in_channels": 3, "blocks": 2, "channels": (16, 32, 32)}
    denoise = Denoiser(small(cls=PaperUNet, **build).eval(), linear_schedule(12, 0.01, 0.9), predicts)
    export.save_diffusers(tmp_path / "paper", denoise)
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path / "paper")
    pipeline.set_progress_bar_config(disable=True)
    g = torch.Generator()
    theirs = pipeline(2, generator=g.manual_seed(3), num_inference_steps=12, output_type="np").images
    ours = sample(denoise, (2, 3, 8, 8), sampler=partial(ddpm), generator=g.manual_seed(3))
    assert np.abs(theirs - ((ours + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).numpy()).max() < 1e-3
    assert theirs.std() > 0.1


def test_diffusers_weights_come_back(tmp_path):
    net = small(cls=PaperUNet, blocks=2)
    back = load_diffusers(export.diffusers_state_dict(net), small(seed=1, cls=PaperUNet, blocks=2))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), back.parameters(), strict=True))
    for denoise, error in (
        (Denoiser(small(), LINEAR), TypeError),
        (Denoiser(small(cls=PaperUNet, n_classes=3), LINEAR), ValueError),
        (Denoiser(small(cls=PaperUNet, learn_variance=True), LINEAR), ValueError),
    ):
        with pytest.raises(error, match="write it as ONNX"):
            export.save_diffusers(tmp_path / "none", denoise)
    assert not (tmp_path / "none").exists()


def test_diffusers_folder_says_what_the_network_is(tmp_path):
    export.save_diffusers(tmp_path, Denoiser(small(cls=PaperUNet, channels=(16, 32, 32)), LINEAR, "v"))
    unet = json.loads((tmp_path / "unet/config.json").read_text())
    assert unet["down_block_types"] == ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]
    assert unet["up_block_types"] == ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    scheduler = json.loads((tmp_path / "scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["trained_betas"] == LINEAR.beta[1:].tolist()


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_writes_and_compares(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from ddpm_abc.storage import save_weights

    monkeypatch.chdir(tmp_path)
    save_weights("small.safetensors", Denoiser(small(channels=(16,)), LINEAR, "v"), steps=3, half=True)
    said = done("export", "small.safetensors", "small.onnx", "--dtype", "float32")
    assert "small.onnx: 0." in said
    assert "differ by" in said
    assert export.load_onnx("small.onnx").net.notes["info"]["steps"] == 3
    save_weights("paper.safetensors", Denoiser(small(cls=PaperUNet), LINEAR))
    done("export", "paper.safetensors", "folder", "--format", "diffusers")
    assert Path("folder/model_index.json").is_file()
    assert "must end in .onnx, got folder" in refused("export", "paper.safetensors", "folder")
    assert "nowhere.safetensors" in refused("export", "nowhere.safetensors", "new/a.onnx")
    assert not Path("new").exists()
    before = Path("small.onnx").read_bytes()
    assert "small.onnx is there already: give another OUT" in refused("export", "mnist", "small.onnx")
    assert Path("small.onnx").read_bytes() == before
    again = refused("export", "paper.safetensors", "folder", "--format", "diffusers")
    assert "folder/model_index.json is there already: give another OUT, or move it away" in again
    assert "this is a UNet" in refused("export", "mnist", "a", "--format", "diffusers")
    assert not Path("a").exists()
