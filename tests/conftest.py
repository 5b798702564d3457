"""What all tests share: the notebooks' fast mode, figures that need no screen, and one fresh state for each test."""

import os
import random

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

os.environ["DDPM_ABC_FAST"] = "1"
matplotlib.use("agg")


@pytest.fixture(autouse=True)
def fresh_state():
    "Each test starts from the same seeds and leaves no figure, style, precision or thread count to the next."
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (some library may still draw from it)
    torch.manual_seed(0)
    threads, dtype, deterministic = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
    )
    with matplotlib.rc_context():
        yield
    plt.close("all")
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_grad_enabled(True)
