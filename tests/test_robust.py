"""A training run that nothing can lose, in short. `benchmarks/robustness.py` and `benchmarks/malformed.py` do
it at length."""

import sys
import warnings

import pytest
import torch
from shell import check_claims

from benchmarks import malformed
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.training import train


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that have imported torch")
def test_what_is_killed_damaged_or_crowded_loses_nothing():
    claims = (
        r"kills: 3 runs killed, [23] of them in mid-write, \d before the first save; 3 resumed, 0 "
        r"unreadable checkpoints, 0 leftovers, 0 ends that differ by a bit",
        r"damage: 20 bit flips and 20 truncations .* accepted: \{'bit flips': 0, 'truncations': 0\}",
        r"steps: 4 resumes, one from each step of 1 epochs; 4 ends equal to the bit",
        r"full: 3 trainings on a full disk; 3 ended with a clear message",
        r"starts: 4 simultaneous starts: 1 owner; it was killed, 4 more starts: 1 owner; 6 refused with the "
        r"reason",
        r"pickles: \d+ hostile files, \d+ attempts to read them: 0 executions, 0 accepted",
    )
    check_claims("robustness.py", claims, timeout=600)


@pytest.mark.skipif(not hasattr(__import__("signal"), "SIGALRM"), reason="needs an alarm to notice a hang")
def test_malformed_input_ends_in_a_documented_error(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts, wrong = malformed.malformed(400, 0, tmp_path)
    assert not wrong
    assert counts.total() >= 400
    assert {"an error line", "ValueError", "RuntimeError", "TypeError"} <= counts.keys()


class Spoilt(torch.nn.Module):
    "Its answer is not a number at one time, and all others are well."

    def __init__(self, at, bad):
        super().__init__()
        self.at, self.bad, self.weight = at, bad, torch.nn.Parameter(torch.ones(1))

    def forward(self, xt, t):
        return xt * self.weight * torch.where(t == self.at, self.bad, 1.0)[:, None, None, None]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_loss_that_is_not_finite_names_step_batch_and_t(bad):
    net, sched = Spoilt(7, bad), linear_schedule(50, 0.002, 0.4)
    opt = torch.optim.SGD(net.parameters(), lr=1e-3)
    data = (torch.rand(4, 1, 2, 2) for _ in range(1000))
    done = []
    message = ""
    try:
        g = torch.Generator().manual_seed(0)
        for out in train(Denoiser(net, sched), data, opt, generator=g, start=100):
            done.append((out.step, out.t, net.weight.item()))
    except FloatingPointError as e:
        message = str(e)
    assert len(done) > 3
    assert all(7 not in t for _, t, _ in done)
    last, _, weight = done[-1]
    assert message.startswith(
        f"step {last + 1}, on batch {last}: the loss is not finite at t = 7 (1 of 4 in the batch). The step "
        f"was not taken: the weights are those of step {last}."
    )
    assert net.weight.item() == weight
