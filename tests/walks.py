"""What the tests of samplers share: a source of noise, the end of a walk, networks that make no mistake."""

import torch

from ddpm_abc.gaussian import GaussianMixture, mixture_eps_model
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import seeded_noise
from ddpm_abc.schedule import linear_schedule

F64 = {"dtype": torch.float64}
SCHED = linear_schedule()


def last(states):
    *_, x = states
    return x


def stream(seed=0):
    return seeded_noise(torch.Generator().manual_seed(seed))


def best(mixture, sched=SCHED):
    "The best denoiser for a mixture."
    return Denoiser(mixture_eps_model(mixture, sched.alpha_bar), sched)


def gaussian(v, sched=SCHED):
    "The best denoiser for data N(0, v)."
    data = GaussianMixture(torch.ones(1, **F64), torch.zeros(1, 1, **F64), torch.tensor([v], **F64))
    return best(data, sched)
