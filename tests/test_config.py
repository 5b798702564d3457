"""What a run can be told: one declaration, from which the checks, the help and the checkpoints follow."""

import json
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import click
import numpy as np
import pytest
from shell import ENVIRONMENT

from ddpm_abc.cli.evaluate import EvaluateConfig
from ddpm_abc.cli.options import retyped
from ddpm_abc.cli.sample import SampleConfig
from ddpm_abc.cli.train import _again, command
from ddpm_abc.run.config import RECIPES, OtherSetting, TrainConfig, read_settings, saved_settings, settled
from ddpm_abc.run.settings import (
    Choice,
    ConfigError,
    Flag,
    Levels,
    Name,
    Number,
    Whole,
    counted,
    help_of,
    settings_of,
    shown,
)
from ddpm_abc.run.setup import check_new

WHOSE, INSTEAD = "the run began with", "start anew in another {out}"


def test_the_declaration_needs_neither_torch_nor_numpy():
    script = "import sys, ddpm_abc.run.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT).returncode == 0


def test_every_setting_is_an_option_with_its_default_in_the_help():
    options = {param.name: param for param in command.params}
    assert options.keys() == settings_of(TrainConfig).keys() | {"resume", "recipe"}
    for name, s in settings_of(TrainConfig).items():
        assert options[name].opts == [f"--{name.replace('_', '-')}"]
        assert options[name].help == help_of(s, lambda name: f"--{name.replace('_', '-')}")
        assert options[name].is_flag == isinstance(s.kind, Flag)
        assert isinstance(options[name], click.Option)


def test_the_help_says_the_numbers_that_the_program_computes_with():
    "The declaration imports no torch, so it says again what other modules define."
    from ddpm_abc.data import NAMED, folder
    from ddpm_abc.run import draw
    from ddpm_abc.run.run import WARM_UP

    train, sample = settings_of(TrainConfig), settings_of(SampleConfig)
    assert f"more than {folder.IN_MEMORY // 2**20} MB" in train["image_cache"].help
    assert f"after a warm-up of {WARM_UP} steps" in train["decay"].help
    assert all(name in train["data"].help for name in NAMED)
    assert sample["steps"].otherwise.startswith(f"{draw.FEW_STEPS};")
    few = f"in fewer than {draw.LATE_BELOW} steps"
    assert few in " ".join(sample["eta"].help.split())
    usual = f"{draw.ETA['dpm-solver']:g} for dpm-solver, and {draw.LATE_ETA:g} {few}"
    assert sample["eta"].otherwise == f"{usual}; {draw.ETA['ddim']:g} for ddim"


@pytest.mark.parametrize("config", [TrainConfig, SampleConfig, EvaluateConfig])
def test_every_field_is_a_setting_whose_default_passes_its_own_check(config):
    declared = settings_of(config)
    assert {f.name for f in fields(config)} - declared.keys() <= {"given"}
    for s in declared.values():
        if s.default is not None:
            s.kind.check(s.default)
        if not isinstance(s.kind, Flag) and s.default not in (None, ""):
            assert s.kind.parse(shown(s.default)) == s.default
        assert "default: " in help_of(s)


# --- kinds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Whole(1, 20), "20", 20),
        (Whole(-5), "-5", -5),
        (Whole(), "+7", 7),
        (Whole(), "0" * 120 + "7", 7),
        (Whole(-5), "-" + "0" * 120 + "5", -5),
        (Number(), "-1e3", -1000.0),
        (Number(0), "0.5", 0.5),
        (Choice(("a", "b")), "b", "b"),
        (Levels(), "16", (16,)),
        (Levels(), "16,32", (16, 32)),
        (Name(), "folder with blanks", "folder with blanks"),
    ],
)
def test_kinds_read_what_is_typed(kind, text, value):
    got = kind.parse(text)
    assert (got, type(got)) == (value, type(value))
    assert kind.check(got) == value


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Whole(1), "0", "must be at least 1, got 0"),
        (Whole(1, 5), "6", "must be at most 5, got 6"),
        (Whole(0, 7, "less than 2^3"), "8", "must be less than 2^3, got 8"),
        (Whole(1), "\uff11\uff16", "must be a whole number, at least 1"),
        (Whole(1), "1e3", "must be a whole number, at least 1, got 1e3"),
        (Number(), "nan", "must be a finite number, got nan"),
        (Number(0), "-0.0", "must be a finite number greater than 0, got -0.0"),
        (Number(0), "much", "must be a finite number greater than 0, got much"),
        (Choice(("a", "b"), ("c",)), "c", "must be a or b, got c"),
        (Levels(), "16,", "must be whole numbers with commas between them, such as 32,64,96, got 16,"),
        (Name(), "", "must not be empty"),
        (Name(), "a\0b", "must be a name that can be printed, and holds a byte that is not text"),
        (Flag(), "yes", "takes no value, got yes"),
    ],
)
def test_kinds_refuse_in_words_that_follow_a_name(kind, text, said):
    with pytest.raises(ValueError, match="^must|^takes") as e:
        kind.parse(text)
    assert str(e.value).startswith(said)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Whole(), True),
        (Whole(), 1.0),
        (Whole(), "1"),
        (Number(), True),
        (Number(), "1"),
        (Choice(("a",)), 1),
        (Levels(), "16"),
        (Levels(), [16.0]),
        (Levels(), [True]),
        (Levels(), [[16]]),
        (Name(), 3),
        (Name(), None),
        (Flag(), 1),
    ],
)
def test_kinds_refuse_values_of_another_type(kind, value):
    with pytest.raises(TypeError, match="must be"):
        kind.check(value)


def test_what_only_weights_bring_passes_the_check():
    assert Choice(("a",), ("b",)).check("b") == "b"
    assert TrainConfig(schedule="betas").schedule == "betas"


# --- errors -------------------------------------------------------------------------------------------------


def test_an_error_names_settings_as_its_reader_types_them():
    error = ConfigError("{batch_size} must be at most {n}, got {got}: see {out}", n=3, got="{odd}")
    assert error.settings == {"batch_size", "out"}
    assert str(error) == "batch_size must be at most 3, got {odd}: see out"
    assert error.spelled(str.upper) == "BATCH_SIZE must be at most 3, got {odd}: see OUT"


def test_a_configuration_is_checked_when_it_is_made():
    for wrong in (
        {"T": 0},
        {"lr": "0.1"},
        {"channels": 16},
        {"labels": 1},
        {"seed": -1},
        {"schedule": "square"},
    ):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} must be"):
            TrainConfig(**wrong)


def test_numbers_of_numpy_are_numbers():
    got = TrainConfig(lr=np.float64(0.1), ema=np.float32(0.5), steps=np.int64(7), channels=(np.int32(16), 32))
    assert (got.lr, got.ema, got.steps, got.channels) == (0.1, 0.5, 7, (16, 32))
    assert json.loads(json.dumps(saved_settings(got)))["channels"] == [16, 32]
    assert TrainConfig(size=np.int64(28)).size == "28x28"
    for wrong in ({"lr": np.float64("nan")}, {"steps": np.int64(0)}, {"steps": np.float64(7)}):
        with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} must be"):
            TrainConfig(**wrong)
    with pytest.raises(ConfigError, match="^lr must be"):
        TrainConfig(lr=np.bool_(True))


def test_a_path_is_the_name_of_a_folder():
    config = TrainConfig(data=Path("mine"), out=Path("a") / "b")
    assert (config.data, config.out) == ("mine", str(Path("a/b")))
    with pytest.raises(ConfigError, match="^out must be a name, got"):
        TrainConfig(out=b"out")


def test_a_tilde_makes_no_folder_of_that_name(monkeypatch):
    "A shell leaves it as it is in --out=~/run."
    monkeypatch.setenv("HOME", "/home/me")
    assert TrainConfig(out="~/run", data="~mine").out == "/home/me/run"
    assert (Name().parse("~/run"), Name().parse("~mine")) == ("/home/me/run", "~mine")


def test_nothing_moves_the_cursor_of_a_terminal():
    assert shown("a\x1b[2Jb\n") == "a?[2Jb?"
    assert shown([1, 2]) == "1,2"
    assert len(shown("x" * 1000)) == 200


def test_a_command_repeats_any_name_as_it_was_typed():
    name = "\U0001f468\u200d\U0001f469/" + "x" * 300  # two characters, joined by one that is not printable
    words = shlex.split(retyped("sample", SampleConfig(weights=name, out=name)))
    assert words == ["ddpm-abc", "sample", "--weights", name, "--out", name]
    assert shlex.split(_again(TrainConfig(image_cache=name)))[-2:] == ["--image-cache", name]


def test_a_number_of_things():
    assert [counted(n, "step") for n in (0, 1, 2, 4000)] == ["0 steps", "1 step", "2 steps", "4,000 steps"]


# --- limits, and what was asked for -------------------------------------------------------------------------


def test_limits():
    assert (TrainConfig().steps, TrainConfig().minutes) == (4000, None)
    assert (TrainConfig(minutes=1.0).steps, TrainConfig(minutes=1.0).minutes) == (None, 1.0)
    assert TrainConfig(steps=5, minutes=1.0).steps == 5


def test_what_was_asked_for():
    assert TrainConfig(lr=0.1, seed=0).given == {"lr"}  # in Python: what differs from its default
    assert TrainConfig(lr=0.1, given=frozenset({"seed"})).given == {"seed"}


def test_settled_takes_over_and_refuses_only_what_was_asked_for():
    before = saved_settings(TrainConfig(lr=0.1, seed=3, steps=7))
    before = read_settings(json.loads(json.dumps(before)), "file")
    got = settled(TrainConfig(), before, WHOSE, INSTEAD)
    assert (got.lr, got.seed, got.steps) == (0.1, 3, 7)
    asked = TrainConfig(given=frozenset({"seed"}))  # the default, but typed
    with pytest.raises(
        OtherSetting, match=r"seed 0 is not what the run began with \(3\): leave seed out, or start anew"
    ):
        settled(asked, before, WHOSE, INSTEAD)
    flag = TrainConfig(flip=True)
    with pytest.raises(OtherSetting, match=r"^flip is not what the run began with \(without it\)"):
        settled(flag, before, WHOSE, INSTEAD)
    moved = settled(TrainConfig(data="elsewhere"), before, WHOSE, INSTEAD)  # compared by content, later
    assert moved.data == "elsewhere"


def test_a_setting_that_nobody_gave_is_named_by_its_default():
    before = saved_settings(TrainConfig(data="mine"))
    for asked, was in (
        ({"size": 32}, r"size 32x32 is not what the run began with \(28x28\)"),
        ({"hold_out": 4}, r"\(one in ten of a folder .*; none of the others\): leave hold_out out"),
        ({"attention": (7,)}, r"\(those of net\)"),
    ):
        with pytest.raises(OtherSetting, match=was):
            settled(TrainConfig(**asked), before, WHOSE, INSTEAD)
    assert settled(TrainConfig(size=28), before, WHOSE, INSTEAD).size == "28x28"
    assert settled(TrainConfig(given=frozenset({"size"})), before, WHOSE, INSTEAD).size is None
    with pytest.raises(OtherSetting):  # and the other way round
        settled(TrainConfig(size=28), {"size": "32x32"}, WHOSE, INSTEAD)


@pytest.mark.parametrize(
    ("asked", "limits"), [({}, (7, None)), ({"steps": 9}, (9, None)), ({"minutes": 2.0}, (None, 2.0))]
)
def test_one_limit_replaces_both(asked, limits):
    before = saved_settings(TrainConfig(steps=7))
    got = settled(TrainConfig(**asked), before, WHOSE, INSTEAD)
    assert (got.steps, got.minutes) == limits


# --- in a checkpoint ----------------------------------------------------------------------------------------

FIRST = {
    "data": "digits",
    "batch_size": 64,
    "lr": 0.002,
    "schedule": "linear",
    "T": 1000,
    "channels": [32, 64, 96],
    "seed": 0,
    "steps": 4000,
    "minutes": None,
}


def test_settings_survive_json():
    config = TrainConfig(
        data="mine", minutes=2.5, channels=(16, 32), labels=True, init_from="w", background="black"
    )
    found = read_settings(json.loads(json.dumps(saved_settings(config))), "file")
    assert replace(config, given=None, shards=32) == TrainConfig(**found)
    assert not {"root", "device", "out"} & found.keys()


def test_settings_of_earlier_releases_are_read():
    found = read_settings(FIRST, "file")
    assert (found["predict"], found["labels"], found["init_from"], found["background"]) == (
        "eps",
        False,
        "",
        "white",
    )
    second = {**FIRST, "predict": "v", "labels": True, "weights": "mnist-v"}
    assert read_settings(second, "file")["init_from"] == "mnist-v"
    assert TrainConfig(**read_settings(second, "file")).predict == "v"


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (None, "was not written by"),
        ([], "was not written by"),
        ({}, "was not written by"),
        ({**FIRST, "more": 1}, "was not written by"),
        ({**FIRST, "lr": "0.1"}, "was not written by"),
        ({**FIRST, "T": None}, "was not written by"),
        ({**FIRST, "channels": ["x"]}, "was not written by"),
        ({**FIRST, "T": 10**9}, "holds T 1000000000, which is not allowed: start anew in another out"),
        ({**FIRST, "lr": float("nan")}, "holds lr nan, which is not allowed"),
        ({**FIRST, "minutes": -1}, "holds minutes -1, which"),
    ],
)
def test_settings_of_strangers_are_refused(run, said):
    with pytest.raises(ConfigError, match=said):
        read_settings(run, "file")


def test_a_recipe_is_what_could_be_typed():
    for recipe in RECIPES.values():
        config = TrainConfig(**recipe)
        assert {name: getattr(config, name) for name in recipe} == recipe
    cifar = TrainConfig(**RECIPES["ddpm-cifar10"])
    assert (cifar.channels, cifar.lr, cifar.dropout, cifar.batch_size) == (
        (128, 256, 256, 256),
        2e-4,
        0.1,
        128,
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [(32, "32x32"), ("32", "32x32"), ("24x40", "24x40"), ((24, 40), "24x40"), ([7, 7], "7x7")],
)
def test_a_size_has_one_form(given, kept):
    assert TrainConfig(size=given).size == kept
    assert settled(TrainConfig(size=given), {"size": kept}, WHOSE, INSTEAD).size == kept


def test_a_network_without_levels_is_refused_before_it_is_built():
    with pytest.raises(ConfigError, match="channels must name at least one level, as in 16,48,96, got none"):
        check_new(TrainConfig(channels=()))


@pytest.mark.parametrize("given", ["", "x", "8x", "8x8x8", "-8", "0", "4097", (8,), (8.0, 8), True])
def test_a_size_that_cannot_be_is_refused(given):
    with pytest.raises(ConfigError, match="size must"):
        TrainConfig(size=given)
