"""How far the library is from its peers, as numbers: diffusers' schedulers, azula's samplers.

Their t is ours less one. Randomness is shared, not compared: both sides draw the same numbers in the same
order. diffusers keeps its tables in float32; "float64 tables" means the same code with our tables put in, so
that what is left is the formulas.

`MEASURES` maps a name to a function that returns a `Row`. Where a peer does something else, the row says by
how much and why.
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import pytest
import torch
from oracle import exact_eps, step_by_eps

from ddpm_abc import sampling, solvers
from ddpm_abc.forward import q_posterior, q_sample
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import sample, seeded_noise, spaced_times
from ddpm_abc.schedule import Schedule, cosine_schedule, linear_schedule, schedule_from_beta


@dataclass(frozen=True)
class Row:
    peer: str
    deviation: float  # largest difference
    limit: float  # agreement: the deviation stays below it; difference: it must exceed it
    agrees: bool = True
    why: str = ""  # what the deviation comes from


MEASURES: dict[str, Callable[[], Row]] = {}


def measure(name: str):
    def keep(function):
        assert name not in MEASURES, name
        MEASURES[name] = function
        return function

    return keep


def ddpm(sched: Schedule | None = None, **config: Any):
    from diffusers import DDPMScheduler

    return with_tables(DDPMScheduler(**config), sched)


def ddim(sched: Schedule | None = None, **config: Any):
    from diffusers import DDIMScheduler

    return with_tables(DDIMScheduler(**config), sched)


def with_tables(scheduler, sched: Schedule | None):
    "The peer, with our float64 tables in place of its float32 ones."
    if sched is not None:
        scheduler.betas, scheduler.alphas_cumprod = sched.beta[1:], sched.alpha_bar[1:]
        scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    return scheduler


def batch(*shape: int, seed: int = 0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apart(a, b) -> float:
    return (a.double() - b.double()).abs().max().item()


# --- diffusers: tables --------------------------------------------------------------------------------------


@measure("linear schedule: alpha_bar")
def _():
    return Row(
        "diffusers", apart(ddpm().alphas_cumprod, linear_schedule().alpha_bar[1:]), 2e-6, why="float32 tables"
    )


@measure("cosine schedule: alpha_bar")
def _():
    return Row(
        "diffusers",
        apart(ddpm(beta_schedule="squaredcos_cap_v2").alphas_cumprod, cosine_schedule().alpha_bar[1:]),
        2e-6,
        why="float32 tables",
    )


@measure("add_noise and q_sample")
def _():
    sched, x0, eps, t = (
        linear_schedule(),
        batch(50, 3),
        batch(50, 3, seed=1),
        torch.linspace(1, 1000, 50).long(),
    )
    return Row("diffusers", apart(ddpm(sched).add_noise(x0, eps, t - 1), q_sample(sched, x0, t, eps)), 1e-14)


# --- diffusers: one step ------------------------------------------------------------------------------------


def ddpm_steps(scheduler, variance: str, clip: bool) -> float:
    sched, worst = linear_schedule(), 0.0
    for t in (1, 2, 3, 10, 100, 500, 999, 1000):
        x, eps_hat = batch(8, 3, 4, 4, seed=t), batch(8, 3, 4, 4, seed=2000 + t)
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(t), dtype=torch.float64) * (t > 1)
        theirs = scheduler.step(eps_hat, t - 1, x, generator=torch.Generator().manual_seed(t)).prev_sample
        ours = step_by_eps(sched, x, eps_hat, t, t - 1, z, variance=variance, clip=clip)
        worst = max(worst, apart(theirs, ours) / ours.abs().max().item())
    return worst


for _variance, _theirs in (("beta_tilde", "fixed_small"), ("beta", "fixed_large")):
    for _clip in (True, False):

        @measure(f"DDPM step, {_variance}, {'clipped' if _clip else 'not clipped'}, relative")
        def _(variance=_variance, theirs=_theirs, clip=_clip):
            return Row(
                "diffusers",
                ddpm_steps(ddpm(variance_type=theirs, clip_sample=clip), variance, clip),
                5e-4,
                why="float32 tables",
            )

        @measure(f"DDPM step, {_variance}, {'clipped' if _clip else 'not clipped'}, float64 tables")
        def _(variance=_variance, theirs=_theirs, clip=_clip):
            return Row(
                "diffusers",
                ddpm_steps(ddpm(linear_schedule(), variance_type=theirs, clip_sample=clip), variance, clip),
                1e-9,
                why="diffusers holds the variance at 1e-20 or more",
            )


@measure("DDIM step with eta = 1 and DDPM step with beta_tilde, float64 tables")
def _():
    sched, worst = linear_schedule(), 0.0
    scheduler = ddim(sched, clip_sample=False)
    scheduler.set_timesteps(1000)
    for t in (2, 3, 10, 100, 500, 1000):
        x, eps_hat, z = batch(3, 8, 3, 4, 4, seed=t)
        theirs = scheduler.step(eps_hat, t - 1, x, eta=1.0, variance_noise=z).prev_sample
        worst = max(worst, apart(theirs, step_by_eps(sched, x, eps_hat, t, t - 1, z, clip=False)))
    return Row("diffusers", worst, 1e-11)


def ddim_clipped(**kwargs) -> float:
    sched = linear_schedule()
    scheduler = ddim(sched)
    scheduler.set_timesteps(1000)
    x, eps_hat, z = batch(3, 8, 3, 4, 4, seed=5)
    return apart(
        scheduler.step(eps_hat, 499, x, eta=1.0, variance_noise=z, **kwargs).prev_sample,
        step_by_eps(sched, x, eps_hat, 500, 499, z),
    )


@measure("clipped DDIM step with eta = 1 and DDPM step, eps recomputed")
def _():
    return Row("diffusers", ddim_clipped(use_clipped_model_output=True), 1e-12)


@measure("clipped DDIM step with eta = 1 and DDPM step, diffusers' default")
def _():
    return Row(
        "diffusers",
        ddim_clipped(),
        1e-2,
        agrees=False,
        why="diffusers clips x_0 and keeps the old eps beside it, unless use_clipped_model_output is set",
    )


# --- diffusers: whole trajectories --------------------------------------------------------------------------


def ddpm_trajectories(scheduler, sched: Schedule, times, **kwargs) -> float:
    "From the same x_T, with the same network and the same z."
    model = exact_eps(sched)
    sampler, g = partial(sampling.ddpm, **kwargs), torch.Generator().manual_seed(0)
    ours = sample(
        Denoiser(model, sched), (16, 4), times=times, sampler=sampler, generator=g, dtype=torch.float64
    )
    g = torch.Generator().manual_seed(0)
    x = torch.randn(16, 4, generator=g, dtype=torch.float64)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(model(x, torch.full((16,), t + 1)), t, x, generator=g).prev_sample
    return apart(x, ours)


@measure("DDPM, 1000 steps, beta_tilde")
def _():
    return Row(
        "diffusers",
        ddpm_trajectories(ddpm(clip_sample=False), linear_schedule(), None, clip=False),
        2e-3,
        why="float32 tables",
    )


@measure("DDPM, 1000 steps, beta_tilde, clipped, float64 tables")
def _():
    sched = linear_schedule()
    return Row("diffusers", ddpm_trajectories(ddpm(sched), sched, None), 1e-9)


@measure("DDPM, 1000 steps, beta, float64 tables")
def _():
    sched = linear_schedule()
    return Row(
        "diffusers",
        ddpm_trajectories(
            ddpm(sched, clip_sample=False, variance_type="fixed_large"),
            sched,
            None,
            clip=False,
            variance="beta",
        ),
        1e-9,
    )


@measure("DDPM, 50 of 1000 steps, beta_tilde, float64 tables")
def _():
    sched = linear_schedule()
    scheduler = ddpm(sched, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    return Row(
        "diffusers",
        ddpm_trajectories(scheduler, sched, spaced_times(1000, 50), clip=False),
        1e-8,
        why="diffusers adds noise of variance 1e-20 on the last step",
    )


@measure("DDPM, 50 of 1000 steps, beta, float64 tables")
def _():
    sched = linear_schedule()
    scheduler = ddpm(sched, clip_sample=False, timestep_spacing="trailing", variance_type="fixed_large")
    scheduler.set_timesteps(50)
    return Row(
        "diffusers",
        ddpm_trajectories(scheduler, sched, spaced_times(1000, 50), clip=False, variance="beta"),
        1e-2,
        agrees=False,
        why="diffusers leaves the noise out where its t is 0, which a strided walk never visits: "
        "its last step, from 19 to the data, adds noise",
    )


def ddim_trajectories(scheduler, sched, times, **kwargs) -> float:
    model = exact_eps(sched)
    sampler, g = partial(solvers.ddim, **kwargs), torch.Generator().manual_seed(0)
    ours = sample(
        Denoiser(model, sched), (16, 4), times=times, sampler=sampler, generator=g, dtype=torch.float64
    )
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(
            model(x, torch.full((16,), t + 1)), t, x, use_clipped_model_output=True
        ).prev_sample
    return apart(x, ours)


for _steps in (10, 50, 1000):

    @measure(f"DDIM, {_steps} steps, float64 tables")
    def _(steps=_steps):
        sched = linear_schedule()
        scheduler = ddim(sched, clip_sample=False, timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        return Row(
            "diffusers", ddim_trajectories(scheduler, sched, spaced_times(1000, steps), clip=False), 1e-9
        )


@measure("DDIM, 50 steps, clipped, float64 tables")
def _():
    sched = linear_schedule()
    scheduler = ddim(sched, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    return Row("diffusers", ddim_trajectories(scheduler, sched, spaced_times(1000, 50)), 1e-9)


@measure("DDIM, 50 steps, float32 tables")
def _():
    scheduler = ddim(clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    return Row(
        "diffusers",
        ddim_trajectories(scheduler, linear_schedule(), spaced_times(1000, 50), clip=False),
        2e-4,
        why="float32 tables",
    )


def walks(scheduler, sampler, times, *, noisy: bool = False) -> float:
    """From the same x_T, with the same network and, where there is some, the same noise.

    Where the peer walks in y = x / sqrt(alpha_bar), as its Heun does, `scale_model_input` turns y into x.
    """
    sched = linear_schedule()
    model = exact_eps(sched)
    x_T = batch(16, 4)
    *_, ours = sampler(Denoiser(model, sched), x_T, times, seeded_noise(torch.Generator().manual_seed(1)))
    noise = seeded_noise(torch.Generator().manual_seed(1))
    x = x_T / sched.alpha_bar[times[0]].sqrt() if type(scheduler).__name__.startswith("Heun") else x_T
    for t in scheduler.timesteps.tolist():
        asked = scheduler.scale_model_input(x, t)
        eps = model(asked, torch.full((16,), round(t) + 1))
        more = {"variance_noise": noise(x)} if noisy else {}
        x = scheduler.step(eps, t, x, **more).prev_sample
    return apart(x, ours)


@measure("DDIM with eta = 0.5, 50 steps, float64 tables")
def _():
    scheduler = ddim(linear_schedule(), clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    step = scheduler.step
    scheduler.step = partial(step, eta=0.5)
    sampler = partial(solvers.ddim, eta=0.5, clip=False)
    return Row("diffusers", walks(scheduler, sampler, spaced_times(1000, 50), noisy=True), 1e-9)


def multistep(**config: Any):
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(beta_schedule="linear", lower_order_final=False, **config)


for _steps in (20, 50):

    @measure(f"DPM-Solver++(2M), {_steps} steps")
    def _(steps=_steps):
        scheduler = multistep(timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        deviation = walks(scheduler, partial(solvers.dpm_solver, clip=False), spaced_times(1000, steps))
        return Row("diffusers", deviation, 1e-4, why="diffusers steps in float32")

    @measure(f"DPM-Solver++(2M) with eta = 1, {_steps} steps")
    def _(steps=_steps):
        scheduler = multistep(timestep_spacing="trailing", algorithm_type="sde-dpmsolver++")
        scheduler.set_timesteps(steps)
        sampler = partial(solvers.dpm_solver, eta=1.0, clip=False)
        deviation = walks(scheduler, sampler, spaced_times(1000, steps), noisy=True)
        return Row("diffusers", deviation, 1e-4, why="diffusers steps in float32")

    @measure(f"Heun, {_steps} steps")
    def _(steps=_steps):
        from diffusers import HeunDiscreteScheduler

        scheduler = HeunDiscreteScheduler(
            beta_start=0.0001, beta_end=0.02, beta_schedule="linear", timestep_spacing="trailing"
        )
        scheduler.set_timesteps(steps)
        deviation = walks(scheduler, partial(solvers.heun, clip=False), spaced_times(1000, steps))
        return Row("diffusers", deviation, 1e-3, why="float32 tables")


# --- the golden values of diffusers' own tests --------------------------------------------------------------
# From its tests/schedulers: sums of |x| after a walk from a fixed x with the network x t / (t + 1), t theirs.


def ramp(flip: bool = False):
    """The input of those tests: 0, 1/768, 2/768, ... or from the top.

    Laid out as 3 x 8 x 8 x 4, the last axis being the batch.
    """
    x = torch.arange(768, dtype=torch.float64)
    return ((x.flip(0) if flip else x) / 768).view(3, 8, 8, 4).permute(3, 0, 1, 2)


def toy(xt, t):
    return xt * ((t - 1) / t).view(-1, 1, 1, 1)


@contextmanager
def float32_noise():
    "Let noise be float32 from seed 0, as in those tests."
    g, randn = torch.Generator().manual_seed(0), torch.randn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, **_: randn(shape, generator=g).double())
        yield


def end_sum(sched, x, times=None, sampler=sampling.ddpm, predicts: str = "eps") -> float:
    "The sum that our walk from x ends with."
    times = range(sched.T, -1, -1) if times is None else times
    with float32_noise():
        *_, out = sampler(Denoiser(toy, sched, predicts), x, times, seeded_noise(None))
    return out.abs().sum().item()


def golden(sched, x, value: float, *how, **options) -> float:
    return abs(end_sum(sched, x, *how, **options) - value)


LEADING = [*range(901, 0, -100), 0]  # diffusers' ten "leading" steps


@measure("golden 258.9606: DDPM, whole loop")
def _():
    return Row("diffusers' tests", golden(linear_schedule(), ramp(), 258.9606), 1e-2)


@measure("golden 202.0296: DDPM, v-prediction")
def _():
    return Row("diffusers' tests", golden(linear_schedule(), ramp(), 202.0296, predicts="v"), 1e-2)


def last_two() -> float:
    "The sum that our walk from t = 2 ends with."
    sched = linear_schedule()
    return end_sum(sched, q_sample(sched, ramp(), 2, ramp(flip=True)), [2, 1, 0])


@measure("golden 387.9466: DDPM, the last two steps from a noised input")
def _():
    return Row(
        "diffusers' tests",
        abs(last_two() - 387.9466),
        1e-2,
        agrees=False,
        why="float32 tables: 1 - alpha_bar_2 keeps four digits of them; see the next row",
    )


@measure("the same by diffusers with float64 tables")
def _():
    sched = linear_schedule()
    scheduler, g = ddpm(sched), torch.Generator().manual_seed(0)
    x = scheduler.add_noise(ramp(), ramp(flip=True), torch.tensor([1]))
    for t in (1, 0):
        noise = torch.randn(x.shape, generator=g).double()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, noise=noise, **__: noise
            )
            x = scheduler.step(x * t / (t + 1), t, x).prev_sample
    return Row("diffusers", abs(last_two() - x.abs().sum().item()), 1e-9)


@measure("golden 0, 0.00979, 0.02: DDPM variances")
def _():
    tilde = linear_schedule().beta_tilde
    return Row(
        "diffusers' tests",
        max(abs(tilde[t].item() - v) for t, v in ((1, 0.0), (488, 0.00979), (1000, 0.02))),
        1e-5,
    )


@measure("golden 0.14771, 0.32460: DDIM variances")
def _():
    sched, one = linear_schedule(), torch.ones(1, 1, dtype=torch.float64)
    return Row(
        "diffusers' tests",
        max(
            abs(q_posterior(sched, one, one, t, s)[1].item() - v)
            for t, s, v in ((421, 401, 0.14771), (981, 961, 0.32460))
        ),
        1e-5,
    )


@measure("golden 172.0067: DDIM, whole loop")
def _():
    return Row("diffusers' tests", golden(linear_schedule(), ramp(), 172.0067, LEADING, solvers.ddim), 1e-2)


@measure("golden 52.5302: DDIM, v-prediction")
def _():
    return Row(
        "diffusers' tests", golden(linear_schedule(), ramp(), 52.5302, LEADING, solvers.ddim, "v"), 1e-2
    )


@measure("golden 354.5418: DDIM, the last two steps from a noised input")
def _():
    sched = linear_schedule()
    return Row(
        "diffusers' tests",
        golden(sched, q_sample(sched, ramp(), 101, ramp(flip=True)), 354.5418, [101, 1, 0], solvers.ddim),
        1e-2,
    )


@measure("golden 149.8295: DDIM, beta_1 = 0.01")
def _():
    sched = linear_schedule(beta_min=0.01)
    return Row("diffusers' tests", golden(sched, ramp(), 149.8295, LEADING, solvers.ddim), 1e-2)


@measure("golden 149.0784: DDIM, beta_1 = 0.01, ending at alpha_bar_1")
def _():
    sched = linear_schedule(beta_min=0.01)
    return Row(
        "diffusers' tests",
        golden(sched, ramp(), 149.0784, LEADING, solvers.ddim),
        1e-1,
        agrees=False,
        why="set_alpha_to_one=False makes diffusers' last step end at alpha_bar_1; "
        "ours always ends at the data, alpha_bar_0 = 1",
    )


def golden_mean(value: float, predicts: str) -> float:
    """The mean of |x| after ten steps of 2M that diffusers' test_scheduler_dpm_multi asks for.

    It ends at alpha_bar_1, and not at the data.
    """
    sched = linear_schedule()
    times = [*(int(t) + 1 for t in torch.linspace(999, 0, 11).round()[:-1]), 1]
    sampler = partial(solvers.dpm_solver, clip=False)
    *_, x = sampler(Denoiser(toy, sched, predicts), ramp(), times, seeded_noise(None))
    return abs(x.abs().mean().item() - value)


@measure("golden 0.3301: DPM-Solver++(2M), ten steps")
def _():
    return Row("diffusers' tests", golden_mean(0.3301, "eps"), 1e-3)


@measure("golden 0.2251: DPM-Solver++(2M), v-prediction")
def _():
    return Row("diffusers' tests", golden_mean(0.2251, "v"), 1e-3)


def heun_1100() -> tuple[float, float]:
    """Sums of |x| after the ten steps of Heun of diffusers' test_scheduler_heun: by our walk and by its own.

    Its times lie between the whole ones, so ours walks a schedule of ten steps that has their noise levels.
    """
    from diffusers import HeunDiscreteScheduler

    scheduler = HeunDiscreteScheduler(1100, beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    scheduler.set_timesteps(10)
    x = ramp() * scheduler.init_noise_sigma.double()
    for t in scheduler.timesteps:
        x = scheduler.step(scheduler.scale_model_input(x, t) * t / (t + 1), t, x).prev_sample

    sigma, theirs = (
        v.unique().double() for v in (scheduler.sigmas[:-1], scheduler.timesteps)
    )  # both rise with t
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), 1 / (1 + sigma**2)])
    sched = schedule_from_beta(1 - alpha_bar[1:] / alpha_bar[:-1])
    start = ramp() * scheduler.init_noise_sigma.double() / (1 + sigma[-1] ** 2).sqrt()

    def network(xt, t):
        at = theirs[t - 1].view(-1, 1, 1, 1)
        return xt * at / (at + 1)

    *_, ours = solvers.heun(
        Denoiser(network, sched), start, range(10, -1, -1), seeded_noise(None), clip=False
    )
    return ours.abs().sum().item(), x.abs().sum().item()


@measure("Heun, ten steps of T = 1100, between the whole times: 244.6025")
def _():
    ours, theirs = heun_1100()
    return Row("diffusers", abs(ours - theirs), 1e-3, why="float32 tables")


@measure("golden 0.1233: Heun, the same steps")
def _():
    return Row(
        "diffusers' tests",
        abs(heun_1100()[0] - 0.1233),
        1.0,
        agrees=False,
        why="that test hands the step the network's scaled input for the sample; the row above does not",
    )


# --- azula --------------------------------------------------------------------------------------------------


def azula_sampler(sched: Schedule, name: str, steps: int, **kwargs):
    from azula import denoise, noise
    from azula import sample as azula_sample

    class Table(noise.Schedule):
        def __call__(self, t):
            ab = sched.alpha_bar[(t * sched.T).round().long()]
            return ab.sqrt(), (1 - ab).sqrt()

    class Exact(denoise.Denoiser):
        def __init__(self):
            super().__init__()
            self.schedule = Table()

        def forward(self, x_t, t):
            ab = sched.alpha_bar[(t * sched.T).round().long()]
            eps = exact_eps(sched)(x_t, (t * sched.T).round().long().expand(len(x_t)))
            return denoise.DiracPosterior((x_t - (1 - ab).sqrt() * eps) / ab.sqrt())

    return getattr(azula_sample, name)(Exact(), steps=steps, silent=True, dtype=torch.float64, **kwargs)


def azula_trajectories(name: str, steps: int, sampler, sched: Schedule, **kwargs) -> float:
    "Both draw from torch's global generator: x_T, then a z for each step."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = azula_sampler(sched, name, steps, **kwargs)(torch.randn(16, 4, dtype=torch.float64))
        torch.manual_seed(0)
        denoise, times = Denoiser(exact_eps(sched), sched), spaced_times(sched.T, steps)
        ours = sample(denoise, (16, 4), times=times, sampler=sampler, dtype=torch.float64)
    return apart(theirs, ours)


for _steps in (1000, 50):

    @measure(f"DDPM, {_steps} steps")
    def _(steps=_steps):
        return Row(
            "azula",
            azula_trajectories("DDPMSampler", steps, partial(sampling.ddpm, clip=False), linear_schedule()),
            1e-11,
        )

    @measure(f"DDPM, {_steps} steps, cosine schedule")
    def _(steps=_steps):
        return Row(
            "azula",
            azula_trajectories("DDPMSampler", steps, partial(sampling.ddpm, clip=False), cosine_schedule()),
            1e-9,
        )

    @measure(f"DDIM with eta = 1 and DDPM, {_steps} steps")
    def _(steps=_steps):
        return Row(
            "azula",
            azula_trajectories(
                "DDIMSampler", steps, partial(sampling.ddpm, clip=False), linear_schedule(), eta=1.0
            ),
            1e-11,
        )

    @measure(f"DDIM with eta = 0, {_steps} steps")
    def _(steps=_steps):
        return Row(
            "azula",
            azula_trajectories("DDIMSampler", steps, partial(solvers.ddim, clip=False), linear_schedule()),
            1e-11,
        )


@measure("DDIM with eta = 0.5, 50 steps")
def _():
    sampler = partial(solvers.ddim, eta=0.5, clip=False)
    deviation = azula_trajectories("DDIMSampler", 50, sampler, linear_schedule(), eta=0.5)
    why = "azula scales the variance of the noise by eta; Eq. 16 of DDIM, like ours, by its square"
    return Row("azula", deviation, 1e-3, agrees=False, why=why)


@measure("the same with eta = sqrt(0.5) on our side")
def _():
    sampler = partial(solvers.ddim, eta=0.5**0.5, clip=False)
    return Row("azula", azula_trajectories("DDIMSampler", 50, sampler, linear_schedule(), eta=0.5), 1e-11)


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("diffusers", "azula", "torch")}


def check(row: Row) -> None:
    assert math.isfinite(row.deviation)
    assert row.deviation < row.limit if row.agrees else row.deviation > row.limit
