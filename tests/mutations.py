"""Do the tests bite? Named faults, planted one by one in the library's functions, and the test to catch each.

A fault replaces a piece of one function's source. The function is compiled again in its own module and put
wherever the old one was bound: in the package, in the tests, in default arguments. Then the named test runs,
with all its parameters, and must fail. `explain` reads off the failed `assert` by how much.

    from mutations import FAULTS, outcome
    outcome(FAULTS[0])
"""

import ast
import importlib
import inspect
import itertools
import linecache
import re
import sys
import textwrap
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tools import house

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fault:
    name: str  # what went wrong, in a reader's words
    where: str  # module and function, as in "training.EMA.update" or "data.images.to_unit"
    old: str  # a piece of its source; it must occur
    new: str  # what the fault puts there
    test: str  # the test that must fail, as in "test_forward.test_round_trip"


FAULTS = [
    # the schedule
    Fault(
        "schedule reversed: much noise first",
        "schedule.linear_schedule",
        'device="cpu")',
        'device="cpu").flip(0)',
        "test_sampling.test_full_length_chain_has_the_known_end_variance",
    ),
    Fault(
        "beta_1 left out",
        "schedule.linear_schedule",
        'beta_max, T, dtype=torch.float64, device="cpu")',
        'beta_max, T + 1, dtype=torch.float64, device="cpu")[1:]',
        "test_truth.test_schedule_against_numpy",
    ),
    Fault(
        "cosine: alpha_bar not divided by f(0)",
        "schedule.cosine_schedule",
        "1 - f[1:] / f[:-1]",
        "1 - f[1:] / torch.cat([torch.ones(1), f[1:-1]])",
        "test_truth.test_schedule_against_numpy",
    ),
    Fault(
        "cosine not squared",
        "schedule.cosine_schedule",
        " ** 2",
        "",
        "test_truth.test_schedule_against_numpy",
    ),
    Fault(
        "cosine: beta capped at 0.99",
        "schedule.cosine_schedule",
        "max=0.999",
        "max=0.99",
        "test_truth.test_schedule_against_numpy",
    ),
    Fault(
        "beta_tilde with alpha for alpha_bar",
        "schedule.Schedule.beta_tilde",
        "ab = self.alpha_bar",
        "ab = self.alpha",
        "test_bound.test_weight_of_the_bound_is_half_the_loss_of_snr",
    ),
    Fault(
        "beta_tilde upside down",
        "schedule.Schedule.beta_tilde",
        "(1 - ab[:-1]) / (1 - ab[1:])",
        "(1 - ab[1:]) / (1 - ab[:-1]).clamp(min=1e-9)",
        "test_bound.test_weight_of_the_bound_is_half_the_loss_of_snr",
    ),
    Fault(
        "a negative time wraps around",
        "schedule.extract",
        "(t < 0) | ",
        "",
        "test_properties.test_times_outside_are_refused",
    ),
    Fault(
        "SNR of the standard deviations",
        "schedule.Schedule.snr",
        "self.alpha_bar / (1 - self.alpha_bar)",
        "(self.alpha_bar / (1 - self.alpha_bar)).sqrt()",
        "test_bound.test_weight_of_the_bound_is_half_the_loss_of_snr",
    ),
    Fault(
        "alpha taken for its root",
        "schedule.Schedule.alpha",
        "1 - self.beta",
        "(1 - self.beta).sqrt()",
        "test_properties.test_any_schedule",
    ),
    Fault(
        "beta for beta_tilde in the table",
        "schedule.Schedule.beta_tilde",
        "self.beta[1:] * (1 - ab[:-1]) / (1 - ab[1:])",
        "self.beta[1:]",
        "test_schedule.test_beta_tilde_against_bayes",
    ),
    Fault(
        "the warning looks at alpha_bar, not at its root",
        "schedule._build",
        "sched.alpha_bar[-1].sqrt().item()",
        "sched.alpha_bar[-1].item()",
        "test_schedule.test_the_warnings_remedy_works",
    ),
    Fault(
        "beta_T never reached",
        "schedule.linear_schedule",
        'torch.linspace(beta_min, beta_max, T, dtype=torch.float64, device="cpu")',
        'torch.linspace(beta_min, beta_max, T + 1, dtype=torch.float64, device="cpu")[:-1]',
        "test_equations.test_sum_of_the_betas_decides_what_is_left",
    ),
    Fault(
        "betas rounded to float32 on their way",
        "schedule._build",
        "beta.detach()",
        "beta.detach().float().double()",
        "test_schedule.test_respaced_schedule_keeps_alpha_bar",
    ),
    Fault(
        "alpha_bar a product of betas",
        "schedule._build",
        "torch.cumprod(1 - beta, 0)",
        "1 - torch.cumprod(beta, 0)",
        "test_equations.test_many_steps_from_s_to_t",
    ),
    Fault(
        "SNR upside down",
        "schedule.Schedule.snr",
        "self.alpha_bar / (1 - self.alpha_bar)",
        "(1 - self.alpha_bar) / self.alpha_bar",
        "test_equations.test_errors_of_noise_and_image_are_proportional",
    ),
    Fault(
        "SNR with the noise of one step",
        "schedule.Schedule.snr",
        "(1 - self.alpha_bar)",
        "self.beta",
        "test_equations.test_the_noise_level_of_edm",
    ),
    # the forward process
    Fault(
        "q_sample: sqrt missing on the signal",
        "forward.q_sample",
        "broadcast(alpha_bar.sqrt(), x0)",
        "broadcast(alpha_bar, x0)",
        "test_properties.test_q_sample_is_its_mean_and_standard_deviation",
    ),
    Fault(
        "q_sample: sqrt missing on the noise",
        "forward.q_sample",
        "(1 - alpha_bar).sqrt()",
        "(1 - alpha_bar)",
        "test_properties.test_q_sample_is_its_mean_and_standard_deviation",
    ),
    Fault(
        "q_sample: t shifted by one",
        "forward.q_sample",
        "extract(sched.alpha_bar, t)",
        "extract(sched.alpha_bar, t - 1)",
        "test_properties.test_q_sample_is_its_mean_and_standard_deviation",
    ),
    Fault(
        "q_sample: alpha for alpha_bar",
        "forward.q_sample",
        "extract(sched.alpha_bar, t)",
        "extract(sched.alpha, t)",
        "test_training.test_loss_is_the_mean_square_error_of_each_item",
    ),
    Fault(
        "q_mean_var: standard deviation for variance",
        "forward.q_mean_var",
        "broadcast(1 - alpha_bar, x0)",
        "broadcast((1 - alpha_bar).sqrt(), x0)",
        "test_bound.test_the_chain_of_single_steps_has_the_closed_form_moments",
    ),
    Fault(
        "1 - alpha_bar rounded to float32 first",
        "forward.q_mean_var",
        "broadcast(1 - alpha_bar, x0)",
        "1 - broadcast(alpha_bar, x0)",
        "test_truth.test_float32_coefficients_are_rounded_once",
    ),
    Fault(
        "predict_x0: wrong sign of the noise",
        "forward.predict_x0",
        "xt - broadcast",
        "xt + broadcast",
        "test_properties.test_round_trips",
    ),
    Fault(
        "predict_x0: not divided by sqrt(alpha_bar)",
        "forward.predict_x0",
        " / broadcast(alpha_bar.sqrt(), xt)",
        "",
        "test_sampling.test_step_is_algorithm_2",
    ),
    Fault(
        "predict_eps: divided by the variance",
        "forward.predict_eps",
        "broadcast((1 - alpha_bar).sqrt(), xt)",
        "broadcast(1 - alpha_bar, xt)",
        "test_properties.test_round_trips",
    ),
    Fault(
        "v with the sign of its image turned",
        "parameterization.velocity",
        "eps - broadcast",
        "eps + broadcast",
        "test_properties.test_round_trips",
    ),
    Fault(
        "x_0 from v: factors swapped",
        "parameterization.x0_from_v",
        "broadcast(alpha_bar.sqrt(), xt) * xt",
        "broadcast((1 - alpha_bar).sqrt(), xt) * xt",
        "test_properties.test_round_trips",
    ),
    Fault(
        "eps from v: t shifted by one",
        "parameterization.eps_from_v",
        "extract(sched.alpha_bar, t)",
        "extract(sched.alpha_bar, t - 1)",
        "test_properties.test_round_trips",
    ),
    Fault(
        "posterior: coefficients of x_0 and x_t swapped",
        "forward.q_posterior",
        "(1 - ab_t), x0) * x0",
        "(1 - ab_t), x0) * xt",
        "test_bound.test_posterior_is_bayes_rule",
    ),
    Fault(
        "posterior: variance beta for beta_tilde",
        "forward.q_posterior",
        "broadcast(beta * (1 - ab_s) / (1 - ab_t), xt)",
        "broadcast(beta, xt)",
        "test_bound.test_posterior_is_bayes_rule",
    ),
    Fault(
        "posterior: alpha_bar_t for alpha_bar_{t-1}",
        "forward.q_posterior",
        "broadcast(ab_s.sqrt() * beta",
        "broadcast(ab_t.sqrt() * beta",
        "test_bound.test_mean_of_the_step_is_the_true_conditional_mean",
    ),
    Fault(
        "posterior: sqrt missing on alpha",
        "forward.q_posterior",
        "alpha.sqrt()",
        "alpha",
        "test_sampling.test_step_is_algorithm_2",
    ),
    Fault(
        "one-step betas kept when striding",
        "forward.q_posterior",
        "alpha = ab_t / ab_s",
        "alpha = extract(sched.alpha, t)",
        "test_sampling.test_strided_step_is_bayes_for_the_pair",
    ),
    Fault(
        "q_mean_var: noise of the last step alone",
        "forward.q_mean_var",
        "broadcast(1 - alpha_bar, x0)",
        "broadcast(extract(sched.beta, t), x0)",
        "test_equations.test_every_variance_moves_to_one",
    ),
    Fault(
        "q_mean_var: mean shrunk by alpha_bar",
        "forward.q_mean_var",
        "alpha_bar.sqrt()",
        "alpha_bar",
        "test_equations.test_moments_over_a_data_set",
    ),
    Fault(
        "q_sample: one noise for all the pixels",
        "forward.q_sample",
        "x0) * eps",
        "x0) * eps[..., :1, :1]",
        "test_equations.test_the_noise_of_an_area_averages_out_and_its_colour_does_not",
    ),
    Fault(
        "q_sample: image and noise exchanged",
        "forward.q_sample",
        "extract(sched.alpha_bar, t)",
        "1 - extract(sched.alpha_bar, t)",
        "test_equations.test_two_steps_are_one",
    ),
    Fault(
        "predict_x0: sqrt missing on the noise",
        "forward.predict_x0",
        "(1 - alpha_bar).sqrt()",
        "(1 - alpha_bar)",
        "test_forward.test_errors_grow_by_the_snr",
    ),
    Fault(
        "predict_x0: alpha for alpha_bar",
        "forward.predict_x0",
        "extract(sched.alpha_bar, t)",
        "extract(sched.alpha, t)",
        "test_equations.test_a_guess_of_one_is_a_guess_of_the_other",
    ),
    Fault(
        "predict_x0: t shifted by one",
        "forward.predict_x0",
        "extract(sched.alpha_bar, t)",
        "extract(sched.alpha_bar, t - 1)",
        "test_equations.test_a_term_is_a_weighted_error_of_the_noise",
    ),
    Fault(
        "posterior: x_t keeps all its weight",
        "forward.q_posterior",
        "alpha.sqrt() * (1 - ab_s) / (1 - ab_t)",
        "alpha.sqrt()",
        "test_equations.test_a_step_turned_round",
    ),
    Fault(
        "posterior: weight of x_0 not divided",
        "forward.q_posterior",
        "ab_s.sqrt() * beta / (1 - ab_t)",
        "ab_s.sqrt() * beta",
        "test_equations.test_bound_is_entropy_and_the_price_of_each_step",
    ),
    Fault(
        "posterior: variance of the step and back",
        "forward.q_posterior",
        "broadcast(beta * (1 - ab_s) / (1 - ab_t), xt)",
        "broadcast(beta * (1 - ab_t) / (1 - ab_s).clamp(min=1e-9), xt)",
        "test_properties.test_posterior_is_bayes",
    ),
    Fault(
        "posterior: what t has left in the place of the ratio",
        "forward.q_posterior",
        "beta = 1 - alpha",
        "beta = 1 - ab_t",
        "test_properties.test_posterior_of_the_marginal_is_the_marginal",
    ),
    # the exactly solvable case
    Fault(
        "densities lack log(2 pi v)",
        "gaussian.gaussian_log_prob",
        " + (2 * math.pi * var).log()",
        "",
        "test_gaussian.test_log_prob_and_kl_agree_with_torch_distributions",
    ),
    Fault(
        "KL the wrong way round",
        "gaussian.kl_gaussian",
        "ratio = var1 / var2",
        "ratio = var2 / var1",
        "test_gaussian.test_log_prob_and_kl_agree_with_torch_distributions",
    ),
    Fault(
        "product weighted by variance, not precision",
        "gaussian.gaussian_product",
        "mean1 * var2 + mean2 * var1",
        "mean1 * var1 + mean2 * var2",
        "test_gaussian.test_product_adds_precisions_and_is_the_product",
    ),
    Fault(
        "decoder: bins twice as wide",
        "gaussian.decoder_log_prob",
        "1 / 255",
        "2 / 255",
        "test_gaussian.test_decoder_is_the_area_under_the_bell",
    ),
    Fault(
        "decoder: outer bins closed",
        "gaussian.decoder_log_prob",
        "x0 > 1 - 1e-3",
        "x0 > 2",
        "test_gaussian.test_decoder_shares_out_all_probability",
    ),
    Fault(
        "best eps: sqrt missing",
        "gaussian.GaussianMixture.eps",
        "(1 - alpha_bar).sqrt() * d / c",
        "(1 - alpha_bar) * d / c",
        "test_gaussian.test_best_eps_is_the_slope_of_the_log_density",
    ),
    Fault(
        "best eps: shares of the components ignored",
        "gaussian._Components._log_joint",
        "self.weights.log() + ",
        "",
        "test_gaussian.test_log_prob_is_that_of_torch_distributions",
    ),
    Fault(
        "best eps: mean not shrunk",
        "gaussian._Components._along_axes",
        "alpha_bar.sqrt() * self.means",
        "self.means",
        "test_gaussian.test_best_eps_is_the_mean_of_the_noise_that_made_xt",
    ),
    Fault(
        "densities: exponent not halved",
        "gaussian.gaussian_log_prob",
        "-0.5 * ((x - mean) ** 2 / var + (2 * math.pi * var).log())",
        "-((x - mean) ** 2) / var - 0.5 * (2 * math.pi * var).log()",
        "test_equations.test_jensen",
    ),
    Fault(
        "densities: variance squared",
        "gaussian.gaussian_log_prob",
        "(x - mean) ** 2 / var",
        "(x - mean) ** 2 / var**2",
        "test_equations.test_joint_of_the_chain_is_the_product_of_its_steps",
    ),
    Fault(
        "densities: standard deviation for variance",
        "gaussian.gaussian_log_prob",
        "(x - mean) ** 2 / var",
        "(x - mean) ** 2 / var.sqrt()",
        "test_equations.test_marginal_of_the_model_is_the_integral_over_all_ways",
    ),
    Fault(
        "densities: 2 pi forgotten",
        "gaussian.gaussian_log_prob",
        "(2 * math.pi * var)",
        "var",
        "test_equations.test_bound_is_the_likelihood_and_a_divergence",
    ),
    Fault(
        "KL: wrong sign of the logarithm",
        "gaussian.kl_gaussian",
        "- ratio.log()",
        "+ ratio.log()",
        "test_equations.test_bound_is_its_three_terms",
    ),
    Fault(
        "KL: distance in units of the first",
        "gaussian.kl_gaussian",
        "(mean1 - mean2) ** 2 / var2",
        "(mean1 - mean2) ** 2 / var1",
        "test_equations.test_a_term_is_a_weighted_error_of_the_noise",
    ),
    Fault(
        "KL: the 1 forgotten",
        "gaussian.kl_gaussian",
        "ratio - 1 - ratio.log()",
        "ratio - ratio.log()",
        "test_gaussian.test_bound_is_above_the_likelihood_is_above_the_entropy",
    ),
    Fault(
        "KL of standard deviations",
        "gaussian.kl_gaussian",
        "ratio = var1 / var2",
        "ratio = (var1 / var2).sqrt()",
        "test_equations.test_prior_term_in_bits",
    ),
    Fault(
        "mixture: mean of the logarithms",
        "gaussian._Distribution.log_prob",
        ".logsumexp(1)",
        ".mean(1)",
        "test_equations.test_mean_of_the_true_step_back",
    ),
    Fault(
        "mixture: correlations ignored",
        "gaussian._Components._along_axes",
        'torch.einsum("bki,kij->bkj", d, axes), c',
        "d, c",
        "test_editing.test_the_answer_of_half_a_mixture_is_that_of_bayes",
    ),
    Fault(
        "best eps: all of it from the likeliest component",
        "gaussian.GaussianMixture.eps",
        "share = self._log_joint(d, c).softmax(1)",
        "share = (self._log_joint(d, c) * 1e9).softmax(1)",
        "test_equations.test_best_guess_is_the_mean_of_the_noises",
    ),
    Fault(
        "best eps: divided by a standard deviation",
        "gaussian.GaussianMixture.eps",
        "d / c,",
        "d / c.sqrt(),",
        "test_equations.test_best_guess_for_one_gaussian",
    ),
    Fault(
        "best eps: shares from half the distance",
        "gaussian.GaussianMixture.eps",
        "self._log_joint(d, c).softmax(1)",
        "(self._log_joint(d, c) / 2).softmax(1)",
        "test_gaussian.test_finite_data_set_is_the_posterior_mean",
    ),
    Fault(
        "best eps: the slope in its place",
        "gaussian.GaussianMixture.eps",
        "(1 - alpha_bar).sqrt() * d / c",
        "d / c",
        "test_solvers.test_the_best_guess_of_the_noise_moves_the_points_as_the_density_moves",
    ),
    # evaluation
    Fault(
        "FID: root of the product missing",
        "metrics.frechet",
        ".clamp(min=0).sqrt().sum()",
        ".clamp(min=0).sum()",
        "test_metrics.test_fid_is_that_of_scipy",
    ),
    Fault(
        "FID: means left out",
        "metrics.frechet",
        "(m1 - m2).square().sum() + ",
        "",
        "test_metrics.test_fid_where_a_covariance_is_singular",
    ),
    Fault(
        "KID: a point paired with itself",
        "metrics.kid",
        "(w @ k @ w - w @ k.diagonal()) / (w.sum() * (w.sum() - 1))",
        "(w @ k @ w) / w.sum() ** 2",
        "test_metrics.test_kid_is_unbiased_and_knows_its_error",
    ),
    Fault(
        "a point counted as its own neighbour",
        "metrics.radii",
        "kthvalue(k + 1)",
        "kthvalue(k)",
        "test_metrics.test_prdc_point_by_point",
    ),
    Fault(
        "precision and recall swapped",
        "metrics.prdc",
        "in_real.any(1).double().mean(), in_generated.any(0).double().mean()",
        "in_generated.any(0).double().mean(), in_real.any(1).double().mean()",
        "test_metrics.test_prdc_says_which_way_a_maker_fails",
    ),
    # averaging
    Fault(
        "averaging: the exponent of the profile for that of the decay",
        "averaging.power_ema_decay",
        "(gamma + 1)",
        "gamma",
        "test_averaging.test_the_decays_give_each_step_the_area_of_its_profile",
    ),
    Fault(
        "averaging: the profile at the steps, not its area over them",
        "averaging.power_profile",
        ".pow(gamma + 1).diff()",
        ".pow(gamma)[1:] * (gamma + 1) / t",
        "test_averaging.test_the_decays_give_each_step_the_area_of_its_profile",
    ),
    Fault(
        "averaging: the width without its last factor",
        "averaging.gamma_to_sigma_rel",
        " * (gamma + 3) ** 0.5",
        "",
        "test_averaging.test_the_width_is_the_standard_deviation_of_the_profile",
    ),
    Fault(
        "averaging: the exponent of the earlier profile",
        "averaging.profile_overlap",
        "torch.where(t_a < t_b, gamma_b, gamma_a)",
        "torch.where(t_a < t_b, gamma_a, gamma_b)",
        "test_averaging.test_the_overlap_is_the_integral_of_the_product",
    ),
    Fault(
        "averaging: a mixture with another end",
        "averaging.posthoc_weights",
        "profile_overlap(t, gamma, end, power)",
        "profile_overlap(t, gamma, 0.95 * end, power)",
        "test_averaging.test_the_mixture_is_the_nearest_one",
    ),
    Fault(
        "averaging: steps counted from 0",
        "averaging.PowerEMA.past",
        "self.n, self.gamma",
        "self.n + 1, self.gamma",
        "test_averaging.test_the_average_of_a_training_is_the_profile_of_its_steps",
    ),
    Fault(
        "averaging: files mixed alike",
        "averaging.rebuild",
        "share * v.double()",
        "v.double() / len(paths)",
        "test_averaging.test_rebuilt_averages_come_the_nearer_the_more_files_there_are",
    ),
    # muon
    Fault(
        "muon: no round, the gradient scaled",
        "muon.orthogonal",
        "range(steps)",
        "range(0)",
        "test_muon.test_no_step_of_equal_stretch_is_much_steeper",
    ),
    Fault(
        "muon: the last coefficient with the other sign",
        "muon.orthogonal",
        "alpha=c",
        "alpha=-c",
        "test_muon.test_each_round_is_a_polynomial_of_the_singular_values",
    ),
    Fault(
        "muon: a round that forgets one side of the square",
        "muon.orthogonal",
        "p @ s @ p",
        "p @ s",
        "test_muon.test_each_round_is_a_polynomial_of_the_singular_values",
    ),
    Fault(
        "muon: the scale of the short side",
        "muon._orthogonal_step",
        "max(g.shape)",
        "min(g.shape)",
        "test_muon.test_a_step_has_the_size_of_the_learning_rate",
    ),
    Fault(
        "muon: momentum that does not look ahead",
        "muon._orthogonal_step",
        'grad.lerp(m, group["momentum"])',
        "m",
        "test_muon.test_steps_are_those_of_numpy",
    ),
    Fault(
        "muon: a decay that the learning rate does not scale",
        "muon._move",
        '1 - group["lr"] * group["weight_decay"]',
        '1 - group["weight_decay"]',
        "test_muon.test_steps_are_those_of_numpy",
    ),
    Fault(
        "muon: a table of ten classes taken for a hidden layer",
        "muon.is_hidden",
        ">= 16",
        ">= 8",
        "test_muon.test_which_weights_are_hidden",
    ),
    Fault(
        "muon: Adam's averages as if they began full",
        "muon._adam_step",
        " / (1 - beta1**n)",
        "",
        "test_muon.test_other_parameters_take_the_steps_of_adamw",
    ),
    # likelihood
    Fault(
        "likelihood: the decoder at the wrong time",
        "likelihood._term",
        "(t == 1)",
        "(t == 2)",
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: nats for bits",
        "likelihood._bits",
        " / math.log(2)",
        "",
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: x0 never clipped",
        "likelihood.bound_term",
        "guess.x0.clamp(-1, 1) if clip else guess.x0",
        "guess.x0",
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: the divergence the wrong way round",
        "likelihood._term",
        "kl_gaussian(q_mean, q_var.masked_fill(first, 1.0), mean, var)",
        "kl_gaussian(mean, var, q_mean, q_var.masked_fill(first, 1.0))",
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: the larger variance for the smaller",
        "likelihood._share",
        '"beta_tilde": 0.0, "beta": 1.0',
        '"beta_tilde": 1.0, "beta": 0.0',
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: the decoder takes a standard deviation",
        "likelihood._term",
        "-decoder(x0, mean, var)",
        "-decoder(x0, mean, var.sqrt())",
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: L_T without the variance",
        "likelihood.prior_bits",
        "kl_gaussian(mean, var, torch",
        "kl_gaussian(mean, torch.ones_like(mean), torch",
        "test_likelihood.test_a_second_program_finds_the_same_terms",
    ),
    Fault(
        "likelihood: drawn terms not weighted",
        "likelihood.bits_per_dim",
        "1 / (draws * p[drawn])",
        "0 * p[drawn] + 1 / draws",
        "test_likelihood.test_as_many_uniform_draws_as_times_are_the_full_sum",
    ),
    Fault(
        "likelihood: times shifted by one",
        "likelihood._times",
        "clamp(max=len(p) - 2) + 1",
        "clamp(max=len(p) - 2)",
        "test_likelihood.test_as_many_uniform_draws_as_times_are_the_full_sum",
    ),
    Fault(
        "likelihood: noise that depends on the batch",
        "likelihood.bits_per_dim",
        "len(some), first + k",
        "len(some), first",
        "test_likelihood.test_an_image_does_not_depend_on_its_batch_nor_on_its_place_in_it",
    ),
    Fault(
        "likelihood: the mean square without its root",
        "likelihood.pilot_times",
        ".square().mean().sqrt()",
        ".square().mean()",
        "test_likelihood.test_the_pilot_follows_the_root_mean_square",
    ),
    Fault(
        "likelihood: one time left out of a part",
        "likelihood.Bits.part",
        "self.t >= low",
        "self.t > low",
        "test_likelihood.test_rate_and_distortion_make_up_the_bound",
    ),
    Fault(
        "likelihood: the share of the wrong variance",
        "parameterization.learned_var",
        "log_tilde + share * (log_beta - log_tilde)",
        "log_beta + share * (log_tilde - log_beta)",
        "test_likelihood.test_shares_of_one_and_zero_are_the_papers_two_variances",
    ),
    Fault(
        "likelihood: variances mixed, not their logarithms",
        "parameterization.learned_var",
        "(log_tilde + share * (log_beta - log_tilde)).exp()",
        "(log_tilde.exp() + share * (log_beta.exp() - log_tilde.exp()))",
        "test_likelihood.test_shares_of_one_and_zero_are_the_papers_two_variances",
    ),
    Fault(
        "likelihood: a new network does not begin half way",
        "parameterization.split_answer",
        "(raw + 1) / 2",
        "raw",
        "test_likelihood.test_an_answer_with_twice_the_channels_is_a_guess_and_a_share",
    ),
    Fault(
        "likelihood: the guess learns from the bound",
        "likelihood.hybrid_loss",
        "guess.detach()",
        "guess",
        "test_likelihood.test_the_guess_learns_from_l_simple_alone_and_the_variance_from_the_bound_alone",
    ),
    Fault(
        "likelihood: one term of the bound in L_hybrid for all",
        "likelihood.hybrid_loss",
        "bound = denoise.sched.T * ",
        "bound = ",
        "test_likelihood.test_the_guess_learns_from_l_simple_alone_and_the_variance_from_the_bound_alone",
    ),
    Fault(
        "likelihood: the best variance with the factor of x0 once",
        "likelihood.best_share",
        "mean_of_1**2",
        "mean_of_1",
        "test_likelihood.test_the_best_variance_is_the_least_bound",
    ),
    Fault(
        "likelihood: the variance of x0 by another factor",
        "likelihood.x0_var",
        "(1 - alpha_bar) / alpha_bar.sqrt()",
        "(1 - alpha_bar) / alpha_bar",
        "test_likelihood.test_variance_of_x0_by_its_slope_is_that_of_the_posterior",
    ),
    Fault(
        "likelihood: the score points down",
        "likelihood.score",
        "return -denoise",
        "return denoise",
        "test_likelihood.test_the_score_is_the_gradient_of_the_log_density",
    ),
    Fault(
        "likelihood: the score with the root missing",
        "likelihood.score",
        "denoise.sched.alpha_bar, t)).sqrt(), xt)",
        "denoise.sched.alpha_bar, t)), xt)",
        "test_likelihood.test_matching_the_score_of_the_noise_matches_the_score",
    ),
    Fault(
        "likelihood: the ODE turns the wrong way",
        "likelihood._flow",
        "a * eps - b * x0",
        "a * eps + b * x0",
        "test_likelihood.test_the_odes_density_is_the_exact_one_with_an_error_of_second_order",
    ),
    Fault(
        "likelihood: the divergence with the wrong sign",
        "likelihood.ode_log_prob",
        "log_prob += step",
        "log_prob -= step",
        "test_likelihood.test_the_odes_density_is_the_exact_one_with_an_error_of_second_order",
    ),
    Fault(
        "likelihood: the divergence at the start of a step alone",
        "likelihood.ode_log_prob",
        "+ slope * (",
        "+ 0 * (",
        "test_likelihood.test_the_odes_density_is_the_exact_one_with_an_error_of_second_order",
    ),
    Fault(
        "likelihood: the divergence linear in the angle",
        "likelihood.ode_log_prob",
        "1 / angle.tan(), angle.sin().log()",
        "angle, angle**2 / 2",
        "test_likelihood.test_the_odes_density_of_data_at_one_point_needs_few_steps",
    ),
    Fault(
        "likelihood: the score divided by a variance",
        "likelihood.score",
        "(1 - extract(denoise.sched.alpha_bar, t)).sqrt()",
        "(1 - extract(denoise.sched.alpha_bar, t))",
        "test_likelihood.test_the_chain_is_a_step_of_the_sde_and_the_ode_turns_by_v",
    ),
    Fault(
        "likelihood: half way for the smaller variance",
        "likelihood._share",
        '"beta_tilde": 0.0',
        '"beta_tilde": 0.5',
        "test_likelihood.test_the_continuous_bound_knows_only_the_ends_of_the_schedule",
    ),
    Fault(
        "likelihood: a probe used once",
        "likelihood._flow",
        "(_gradient(v * probe.clone(), x, again=False) * probe)",
        "_gradient(v * probe, x)",
        "test_likelihood.test_the_mean_over_all_signs_is_the_exact_divergence",
    ),
    Fault(
        "likelihood: the first noise not counted",
        "likelihood.ode_bits",
        "_bits(log_q) - ode",
        "-_bits(log_q) - ode",
        "test_likelihood.test_the_density_with_a_decoder_is_a_bound_on_grey_levels",
    ),
    Fault(
        "learned variance: always that of a single step",
        "sampling._learned",
        "share, s)",
        "share)",
        "test_likelihood.test_a_learned_share_is_one_of_each_strides_own_variances",
    ),
    Fault(
        "bits by the ODE: the decoder's guess always clipped",
        "likelihood.ode_bits",
        "clip=clip",
        "clip=True",
        "test_likelihood.test_the_density_has_the_decoder_of_the_bound",
    ),
    Fault(
        "L_hybrid: every answer taken for eps",
        "likelihood.hybrid_loss",
        "complete(denoise.predicts",
        "complete('eps'",
        "test_likelihood.test_the_guess_learns_from_l_simple_alone_and_the_variance_from_the_bound_alone",
    ),
    Fault(
        "likelihood: ancestral sampling ignores what was learned",
        "sampling._learned",
        "if share is None else learned_var",
        "if True else learned_var",
        "test_likelihood.test_sampling_uses_what_was_learned",
    ),
    Fault(
        "FID: the crossed term once",
        "metrics.frechet",
        "2 * crossed",
        "crossed",
        "test_metrics.test_one_dimension_is_the_best_pairing_in_order",
    ),
    Fault(
        "FID: a distance for its square",
        "metrics.frechet",
        "- 2 * crossed).item()",
        "- 2 * crossed).clamp(min=0).sqrt().item()",
        "test_metrics.test_the_floor_falls_as_one_over_n",
    ),
    Fault(
        "the farthest image for the nearest",
        "metrics.nearest_neighbors",
        ".min(1)",
        ".max(1)",
        "test_metrics.test_nearest_neighbors_finds_them",
    ),
    # fast samplers
    Fault(
        "DDIM: noise without eta",
        "solvers.ddim",
        "1 - eta**2 * fresh",
        "1 - fresh",
        "test_solvers.test_eta_sets_the_share_of_new_noise",
    ),
    Fault(
        "DDIM: eta for its square",
        "solvers.ddim",
        "eta**2",
        "eta",
        "test_solvers.test_eta_sets_the_share_of_new_noise",
    ),
    Fault(
        "DDIM: share of new noise with t and s exchanged",
        "solvers.ddim",
        "(a_t * b_s / (a_s * b_t))",
        "(a_s * b_t / (a_t * b_s))",
        "test_solvers.test_eta_1_is_ancestral_sampling",
    ),
    Fault(
        "DDIM: clips x0 and keeps the old noise",
        "solvers._guess",
        "Prediction(x0, predict_eps(denoise.sched, x, t, x0))",
        "Prediction(x0, guess.eps)",
        "test_solvers.test_ddim_is_eulers_method",
    ),
    Fault(
        "new noise not scaled",
        "solvers._mix",
        "(1 - rho**2) ** 0.5",
        "(1 - rho)",
        "test_solvers.test_any_eta_keeps_the_variance_where_the_guess_is_perfect",
    ),
    Fault(
        "Heun: slope at the end only",
        "solvers.heun",
        "(eps + _guess(denoise, end, s, clip).eps) / 2",
        "_guess(denoise, end, s, clip).eps",
        "test_solvers.test_order_of_convergence",
    ),
    Fault(
        "Heun: asked at t for the end of the step",
        "solvers.heun",
        "end, s, clip",
        "end, t, clip",
        "test_solvers.test_order_of_convergence",
    ),
    Fault(
        "DPM-Solver++: looks a whole step ahead",
        "solvers.dpm_solver",
        "(2 * (lam[i] - lam[i - 1]))",
        "(lam[i] - lam[i - 1])",
        "test_solvers.test_dpm_solver_looks_half_a_step_ahead",
    ),
    Fault(
        "DPM-Solver++: remembers nothing",
        "solvers.dpm_solver",
        "        before = x0\n",
        "",
        "test_solvers.test_order_of_convergence",
    ),
    Fault(
        "DPM-Solver++: steps of the wrong pair",
        "solvers.dpm_solver",
        "(lam[i + 1] - lam[i]) / (2 * (lam[i] - lam[i - 1]))",
        "(lam[i] - lam[i - 1]) / (2 * (lam[i + 1] - lam[i]))",
        "test_solvers.test_dpm_solver_looks_half_a_step_ahead",
    ),
    Fault(
        "DPM-Solver++: noise kept twice over",
        "solvers.dpm_solver",
        "** eta_t",
        "** (2 * eta_t)",
        "test_solvers.test_eta_sets_the_share_of_new_noise",
    ),
    Fault(
        "DPM-Solver++: noise early, where it was to be late",
        "solvers.dpm_solver",
        ">= noise_from",
        "< noise_from",
        "test_solvers.test_noise_from_a_time_on",
    ),
    Fault(
        "lambda without its half",
        "solvers._half_log_snr",
        "math.log(a / b)",
        "math.log(a)",
        "test_solvers.test_dpm_solver_looks_half_a_step_ahead",
    ),
    Fault(
        "inversion asks at the time it goes to",
        "solvers.ddim_inversion",
        "max(t, 1)",
        "s",
        "test_solvers.test_inversion_is_eulers_step_upwards",
    ),
    Fault(
        "bent times bent the other way",
        "solvers.bent_times",
        "(i / steps) ** power",
        "(i / steps) ** (1 / power)",
        "test_solvers.test_what_each_spacing_spaces",
    ),
    Fault(
        "best variance: the factor not squared",
        "solvers.analytic_dpm",
        "factor**2 * error",
        "factor * error",
        "test_solvers.test_ancestral_sampling_with_the_best_variance_is_exact_on_a_gaussian",
    ),
    Fault(
        "best variance: beta_tilde left out",
        "solvers.analytic_dpm",
        "var + factor**2 * error",
        "factor**2 * error",
        "test_solvers.test_ancestral_sampling_with_the_best_variance_is_exact_on_a_gaussian",
    ),
    Fault(
        "Heun: slopes added, not averaged",
        "solvers.heun",
        "(eps + _guess(denoise, end, s, clip).eps) / 2",
        "eps + _guess(denoise, end, s, clip).eps",
        "test_solvers.test_heun_is_the_trapezium_of_two_slopes",
    ),
    Fault(
        "solvers: variance for standard deviation",
        "solvers._coefficients",
        "(1 - alpha_bar) ** 0.5",
        "1 - alpha_bar",
        "test_solvers.test_a_guess_that_stands_still_makes_every_solver_exact",
    ),
    Fault(
        "Heun: the second guess never clipped",
        "solvers.heun",
        "end, s, clip",
        "end, s, False",
        "test_solvers.test_every_guess_is_clipped_unless_that_is_turned_off",
    ),
    Fault(
        "DPM-Solver++: guesses never clipped",
        "solvers.dpm_solver",
        "_guess(denoise, x, t, clip).x0",
        "_guess(denoise, x, t, False).x0",
        "test_solvers.test_every_guess_is_clipped_unless_that_is_turned_off",
    ),
    Fault(
        "Analytic-DPM: guesses never clipped",
        "solvers.analytic_dpm",
        "x, t, clip",
        "x, t, False",
        "test_solvers.test_every_guess_is_clipped_unless_that_is_turned_off",
    ),
    Fault(
        "the errors that fix its variance: guesses never clipped",
        "solvers.x0_errors",
        "xt, t, clip",
        "xt, t, False",
        "test_solvers.test_every_guess_is_clipped_unless_that_is_turned_off",
    ),
    Fault(
        "all of the old noise kept beside the new",
        "solvers._mix",
        "b * rho * guess.eps",
        "b * guess.eps",
        "test_solvers.test_an_error_of_the_network_grows_without_noise_and_is_forgotten_with_it",
    ),
    # editing
    Fault(
        "image to image: noise of the last time",
        "editing.image_to_image",
        "image, times[0], noise",
        "image, times[-1], noise",
        "test_editing.test_the_walk_starts_from_the_noised_image",
    ),
    Fault(
        "inpainting: the known pixels as they were at t",
        "editing.inpaint",
        "image, s, noise(image)",
        "image, t, noise(image)",
        "test_editing.test_a_repeated_step_is_the_step_the_mask_and_the_way_back",
    ),
    Fault(
        "inpainting: known and unknown exchanged",
        "editing.inpaint",
        "torch.where(known",
        "torch.where(~known",
        "test_editing.test_what_is_hidden_is_not_looked_at",
    ),
    Fault(
        "inpainting: the last step repeated too",
        "editing.inpaint",
        "repeats if s > 0 else 1",
        "repeats",
        "test_editing.test_a_repeated_step_is_the_step_the_mask_and_the_way_back",
    ),
    Fault(
        "inpainting: no way back",
        "editing.inpaint",
        "if left else x_s",
        "if False else x_s",
        "test_editing.test_repeats_bring_the_halves_together",
    ),
    Fault(
        "inpainting: back with the noise of the whole way",
        "editing._go_back",
        "(1 - ratio)",
        "(1 - extract(denoise.sched.alpha_bar, t))",
        "test_editing.test_repeats_bring_the_halves_together",
    ),
    Fault(
        "slerp: a straight line",
        "editing.slerp",
        "torch.where(bent, ((1 - share) * angle).sin() / sine, 1 - share)",
        "1 - share",
        "test_editing.test_slerp_divides_the_angle",
    ),
    Fault(
        "image to image: the image twice as bright",
        "editing.image_to_image",
        "denoise.sched, image, times[0]",
        "denoise.sched, 2 * image, times[0]",
        "test_editing.test_how_much_of_the_image_is_left",
    ),
    Fault(
        "slerp: a straight line between noises an angle of 0.05 apart",
        "editing.slerp",
        "angle > 1e-4",
        "angle > 1e-1",
        "test_editing.test_slerp_divides_the_angle",
    ),
    Fault(
        "inpainting: hidden pixels count for the range",
        "editing.inpaint",
        "_check_range(image[known.expand_as(image)])",
        "_check_range(image)",
        "test_editing.test_an_image_of_another_range_is_warned_of",
    ),
    # training
    Fault(
        "network is told t - 1",
        "training.simple_loss",
        "t.to(xt.device)",
        "t.to(xt.device) - 1",
        "test_training.test_the_network_sees_the_noisy_image_and_its_time",
    ),
    Fault(
        "network is shown the clean image",
        "training.simple_loss",
        "denoise.net(xt,",
        "denoise.net(x0,",
        "test_training.test_the_network_sees_the_noisy_image_and_its_time",
    ),
    Fault(
        "network learns x_0 in the place of eps",
        "parameterization.Denoiser.target",
        'return eps if self.predicts == "eps" else x0',
        "return x0",
        "test_training.test_loss_is_the_mean_square_error_of_each_item",
    ),
    Fault(
        "loss summed over the pixels",
        "training.simple_loss",
        ".mean(1)",
        ".sum(1)",
        "test_training.test_loss_is_the_mean_square_error_of_each_item",
    ),
    Fault(
        "absolute error for squared",
        "training.simple_loss",
        ".square()",
        ".abs()",
        "test_training.test_loss_is_the_mean_square_error_of_each_item",
    ),
    Fault(
        "t = T never trained",
        "training.sample_t",
        "sched.T + 1",
        "max(sched.T, 2)",
        "test_training.test_every_time_is_drawn_and_no_other",
    ),
    Fault(
        "t = 1 never trained",
        "training.sample_t",
        "randint(1,",
        "randint(2 if sched.T > 1 else 1,",
        "test_training.test_every_time_is_drawn_and_no_other",
    ),
    Fault(
        "t drawn from 0..T-1",
        "training.sample_t",
        "randint(1, sched.T + 1",
        "randint(0, sched.T",
        "test_training.test_trained_times_are_the_sampled_times",
    ),
    Fault(
        "small t drawn more often",
        "training.sample_t",
        'torch.randint(1, sched.T + 1, (n,), generator=generator, device="cpu")',
        "torch.randint(1, sched.T + 1, (2, n), generator=generator).amin(0)",
        "test_training.test_times_are_uniform",
    ),
    Fault(
        "one t for the whole batch",
        "training.draw_batch",
        "sample_t(sched, len(x0), generator)",
        "sample_t(sched, 1, generator).expand(len(x0))",
        "test_training.test_one_step_is_gradient_descent_on_the_clipped_mean_loss",
    ),
    Fault(
        "EMA the wrong way round",
        "training.EMA.update",
        "1 - self.past()",
        "self.past()",
        "test_training.test_ema_is_its_formula",
    ),
    Fault(
        "EMA without its start",
        "training.EMA.past",
        "min(self.decay, (1 + self.n) / (10 + self.n))",
        "self.decay",
        "test_training.test_ema_is_its_formula",
    ),
    Fault(
        "EMA leaves the buffers behind",
        "training.EMA.update",
        "kept.copy_(buffer)",
        "pass",
        "test_training.test_ema_is_its_formula",
    ),
    Fault(
        "EMA never updated",
        "training.train",
        "ema.update(net)",
        "pass",
        "test_training.test_ema_is_updated_once_a_step",
    ),
    Fault(
        "EMA shares the network's weights",
        "training.EMA.__init__",
        "copy.deepcopy(model).eval().requires_grad_(False)",
        "model",
        "test_training.test_ema_is_a_frozen_copy_in_evaluation_mode",
    ),
    Fault(
        "zero_grad missing",
        "training._set_gradient",
        "opt.zero_grad()\n    net.zero_grad()",
        "pass",
        "test_truth.test_every_step_is_gradient_descent",
    ),
    Fault(
        "batch loss summed",
        "training._set_gradient",
        "(counted.sum() / n * scale).backward()",
        "(counted.sum() * scale).backward()",
        "test_training.test_one_step_is_gradient_descent_on_the_clipped_mean_loss",
    ),
    Fault(
        "each part of a batch counts as a whole",
        "training._set_gradient",
        "(counted.sum() / n * scale).backward()",
        "counted.mean().backward()",
        "test_distributed.test_a_batch_in_parts_has_the_gradient_of_the_whole",
    ),
    Fault(
        "gradients of processes summed, not averaged",
        "distributed._Bucket.receive",
        "self.flat.div_(size)",
        "self.flat",
        "test_distributed.test_gradients_become_means_in_buckets_that_leave_early",
    ),
    Fault(
        "every process trains on the same share",
        "distributed.Team.share",
        "range(self.rank * each, (self.rank + 1) * each)",
        "range(each)",
        "test_distributed.test_processes_see_the_shares_of_one_batch",
    ),
    Fault(
        "the noise of a micro-shard is the same at every step",
        "distributed.shard_generator",
        "spawn_key=(step, shard)",
        "spawn_key=(shard,)",
        "test_distributed.test_a_stream_is_a_function_of_seed_step_and_shard",
    ),
    Fault(
        "gradient not clipped",
        "training.train",
        "clip_grad_norm_(net.parameters(), clip_norm)",
        "clip_grad_norm_(net.parameters(), float('inf'))",
        "test_training.test_one_step_is_gradient_descent_on_the_clipped_mean_loss",
    ),
    Fault(
        "step not taken when the loop yields",
        "training.train",
        "        opt.step()\n",
        "        opt.step() if step else None\n",
        "test_training.test_yields_after_the_step",
    ),
    Fault(
        "training noise ignores the generator",
        "training.draw_batch",
        "torch.randn(x0.shape, generator=source,",
        "torch.randn(x0.shape,",
        "test_training.test_one_seed_one_run_and_the_global_generator_is_left_alone",
    ),
    Fault(
        "training times ignore the generator",
        "training.draw_batch",
        "len(x0), generator)",
        "len(x0))",
        "test_training.test_one_seed_one_run_and_the_global_generator_is_left_alone",
    ),
    Fault(
        "learning-rate factors multiply up",
        "training._set_lr",
        'group.setdefault("initial_lr", group["lr"])',
        'group["lr"]',
        "test_training.test_learning_rate_follows_the_factor_of_the_0_based_step",
    ),
    Fault(
        "a bad gradient is noticed too late",
        "training.train",
        "if not torch.isfinite(grad_norm + losses.sum()):",
        "opt.step()\n        if not torch.isfinite(grad_norm + losses.sum()):",
        "test_training.test_a_gradient_that_is_not_finite_stops_before_the_step",
    ),
    Fault(
        "network left in evaluation mode",
        "training.train",
        "net.train()",
        "pass",
        "test_training.test_sets_training_mode",
    ),
    Fault(
        "warm-up starts at 1",
        "training.warmup_cosine",
        "max(progress / warmup, floor)",
        "1.0",
        "test_training.test_warmup_cosine",
    ),
    Fault(
        "loss halved, as for a likelihood",
        "training.simple_loss",
        ".square()",
        ".square().div(2)",
        "test_equations.test_best_scaling_of_the_input",
    ),
    Fault(
        "network asked for the noise scaled as in x_t",
        "training.simple_loss",
        "denoise.target(x0, t, eps)",
        "(xt - x0)",
        "test_equations.test_loss_of_the_best_linear_network",
    ),
    # sampling
    Fault(
        "loop tells the network t - 1",
        "sampling.ddpm",
        "denoise(x, t)",
        "denoise(x, max(t - 1, 1))",
        "test_sampling.test_visits_every_time_once_in_order_with_int64_batches",
    ),
    Fault(
        "loop tells the network s",
        "sampling.ddpm",
        "denoise(x, t)",
        "denoise(x, max(s, 1))",
        "test_sampling.test_sampler_is_the_exact_affine_map",
    ),
    Fault(
        "first step skipped",
        "sampling.sample",
        "device=device)), times, noise",
        "device=device)), times[1:], noise",
        "test_sampling.test_visits_every_time_once_in_order_with_int64_batches",
    ),
    Fault(
        "last step skipped",
        "sampling.ddpm",
        "in pairwise(times)",
        "in pairwise(times[:-1])",
        "test_sampling.test_visits_every_time_once_in_order_with_int64_batches",
    ),
    Fault(
        "noise on the last step",
        "sampling.ddpm",
        "noise(x) if s > 0 else torch.zeros_like(x)",
        "noise(x)",
        "test_sampling.test_last_step_adds_no_noise_even_with_the_larger_variance",
    ),
    Fault(
        "no noise on the step before it either",
        "sampling.ddpm",
        "if s > 0",
        "if s > 1",
        "test_sampling.test_sampler_is_the_exact_affine_map",
    ),
    Fault(
        "one z for all steps",
        "sampling.ddpm",
        "    for t, s in",
        "    z0 = noise(x)\n    noise = lambda x: z0\n    for t, s in",
        "test_truth.test_each_step_draws_its_own_noise",
    ),
    Fault(
        "sampler starts from zeros",
        "sampling.sample",
        "device=device)), times",
        "device=device)) * 0, times",
        "test_sampling.test_starts_from_noise_and_returns_the_last_state",
    ),
    Fault(
        "sampling noise ignores the generator",
        "sampling.seeded_noise",
        "x.shape, generator=generator, dtype",
        "x.shape, dtype",
        "test_sampling.test_starts_from_noise_and_returns_the_last_state",
    ),
    Fault(
        "sampling keeps the graph",
        "sampling.ddpm",
        "@torch.no_grad()",
        "",
        "test_sampling.test_dtype_and_device_follow_the_request_and_the_model",
    ),
    Fault(
        "autocast on the update",
        "sampling.ddpm",
        "x, guess.x0, t, s, z, variance=var, clip=clip)",
        "x.bfloat16(), guess.x0.bfloat16(), t, s, z.bfloat16(), variance=var, clip=clip).to(x)",
        "test_sampling.test_sampler_is_the_exact_affine_map",
    ),
    Fault(
        "sqrt missing on sigma",
        "sampling.ddpm_step",
        "var.sqrt() * noise",
        "var * noise",
        "test_sampling.test_step_is_algorithm_2",
    ),
    Fault(
        "beta for beta_tilde",
        "sampling.ddpm_step",
        'variance == "beta":',
        'variance in ("beta", "beta_tilde"):',
        "test_sampling.test_full_length_chain_has_the_known_end_variance",
    ),
    Fault(
        "sigma^2 = beta_t when striding",
        "sampling.ddpm_step",
        "1 - extract(sched.alpha_bar, t) / extract(sched.alpha_bar, s)",
        "extract(sched.beta, t)",
        "test_truth.test_strided_beta_is_the_variance_of_the_stride",
    ),
    Fault(
        "clip outside the mean",
        "sampling.ddpm_step",
        "mean + var.sqrt() * noise",
        "(mean + var.sqrt() * noise).clamp(-1, 1)",
        "test_sampling.test_clip_acts_on_the_estimate_of_x0_and_nothing_else",
    ),
    Fault(
        "x_0 not clipped",
        "sampling.ddpm_step",
        "x0_hat.clamp(-1, 1) if clip else x0_hat",
        "x0_hat",
        "test_sampling.test_clip_acts_on_the_estimate_of_x0_and_nothing_else",
    ),
    Fault(
        "x_0 clipped to [0, 1]",
        "sampling.ddpm_step",
        "clamp(-1, 1)",
        "clamp(0, 1)",
        "test_truth.test_clip_is_symmetric",
    ),
    Fault(
        "strided times leave out T",
        "sampling.spaced_times",
        "round(T *",
        "round((T - 1) *",
        "test_sampling.test_spaced_times",
    ),
    Fault(
        "x_0 clipped though told not to",
        "sampling.ddpm_step",
        "x0_hat.clamp(-1, 1) if clip else x0_hat",
        "x0_hat.clamp(-1, 1)",
        "test_equations.test_mean_of_the_true_step_back",
    ),
    # the data
    Fault(
        "data in [0, 1]",
        "data.images.to_unit",
        "/ 127.5 - 1",
        "/ 255",
        "test_gaussian.test_decoder_takes_the_pixels_that_the_data_module_makes",
    ),
    Fault(
        "pixels cut off, not rounded",
        "data.images.to_uint8",
        ".round()",
        "",
        "test_truth.test_pixels_survive_the_round_trip",
    ),
    Fault(
        "every epoch in the same order",
        "data.images._shuffled",
        "seed + 1_000_003 * epoch",
        "seed",
        "test_truth.test_epochs_differ_and_each_shows_every_image_once",
    ),
    Fault(
        "images drawn with replacement",
        "data.images._shuffled",
        'torch.randperm(n, generator=g, device="cpu")',
        'torch.randint(n, (n,), generator=g, device="cpu")',
        "test_truth.test_epochs_differ_and_each_shows_every_image_once",
    ),
    Fault(
        "white is 127/128",
        "data.images.to_unit",
        "127.5 - 1",
        "128 - 1",
        "test_data.test_every_pixel_value_survives_the_round_trip",
    ),
    # the network
    Fault(
        "embedding filled along the wrong axis",
        "unet.timestep_embedding",
        "torch.cat([angles.sin(), angles.cos()], dim=1)",
        "torch.where((torch.arange(len(t)) % 2 == 0)[:, None], angles.sin(), angles.cos()).repeat(1, 2)",
        "test_unet.test_embedding_depends_on_its_own_time_only",
    ),
    Fault(
        "embedding: wrong spacing of frequencies",
        "unet.timestep_embedding",
        "(half - 1)",
        "half",
        "test_unet.test_embedding_against_plain_python",
    ),
    Fault(
        "network blind to time",
        "unet.ResBlock.forward",
        "h = h + self.emb(F.silu(emb))[:, :, None, None]",
        "pass",
        "test_unet.test_output_depends_on_t_in_every_pixel",
    ),
    Fault(
        "attention among channels",
        "unet.Attention.forward",
        "F.scaled_dot_product_attention(q, k, v)",
        "F.scaled_dot_product_attention(q.mT, k.mT, v.mT).mT",
        "test_unet.test_attention_by_hand",
    ),
    Fault(
        "attention output laid out wrong",
        "unet.Attention.forward",
        "h.transpose(1, 2).unflatten(2, x.shape[2:])",
        "h.reshape(x.shape)",
        "test_unet.test_attention_by_hand",
    ),
    Fault(
        "skips taken after the pooling",
        "unet._walk",
        "    h = level(h, emb)\n        skips.append(h)",
        "    h = level(h, emb)\n"
        "        skips.append(F.interpolate(F.avg_pool2d(h, 2), h.shape[2:]) if min(h.shape[2:]) > 1 else h)",
        "test_unet.test_full_size_skip_passes_a_shift_by_one_pixel",
    ),
    Fault(
        "output left in bfloat16",
        "unet.UNetBase.forward",
        ".to(xt.dtype)",
        "",
        "test_truth.test_network_returns_the_precision_of_its_input_under_autocast",
    ),
    Fault(
        "last layer not zero at first",
        "unet.zero_init",
        "nn.init.zeros_(p)",
        "nn.init.normal_(p)",
        "test_equations.test_answering_zero_costs_one",
    ),
    Fault(
        "embedding: angles ten times too slow",
        "unet.timestep_embedding",
        "t[:, None].float()",
        "t[:, None].float() / 10",
        "test_equations.test_inner_product_of_embeddings_depends_on_the_distance",
    ),
    Fault(
        "residual block: the shortcut forgotten",
        "unet.ResBlock.forward",
        "self.skip(x) + h",
        "h",
        "test_unet.test_res_block_by_hand",
    ),
    Fault(
        "residual block: ReLU for swish",
        "unet.ResBlock.forward",
        "F.silu(self.norm2(h))",
        "F.relu(self.norm2(h))",
        "test_unet.test_res_block_by_hand",
    ),
    Fault(
        "GroupNorm over all channels at once",
        "unet.GroupNorm.forward",
        "super().forward(x.to(self.weight.dtype))",
        "F.group_norm(x, 1, self.weight, self.bias, self.eps)",
        "test_unet.test_group_norm_by_hand",
    ),
    Fault(
        "pixels blurred on the way up",
        "unet.Up.forward",
        'mode="nearest"',
        'mode="bilinear"',
        "test_unet.test_down_and_up",
    ),
    Fault(
        "halving without a stride",
        "unet.Down.forward",
        "self.conv(x)",
        "F.conv2d(x, self.conv.weight, self.conv.bias, padding=1)",
        "test_equations.test_multiply_adds_of_a_convolution",
    ),
    # what to predict, and guidance
    Fault(
        "v weighed like the image",
        "parameterization.v_weight",
        "1 / sched.alpha_bar",
        "1 / sched.snr",
        "test_parameterization.test_the_weight_makes_an_error_of_eps_one_of_v",
    ),
    Fault(
        "weight of the loss left out",
        "training._set_gradient",
        "found * broadcast(extract(weight, part.t), found)",
        "found",
        "test_parameterization.test_training_takes_the_weight",
    ),
    Fault(
        "weight looked up one step early",
        "training._set_gradient",
        "extract(weight, part.t)",
        "extract(weight, part.t - 1)",
        "test_parameterization.test_training_takes_the_weight",
    ),
    Fault(
        "the denoiser tells the network t - 1",
        "parameterization.Denoiser.__call__",
        "_times(self.sched, xt, t)",
        "_times(self.sched, xt, t) - 1",
        "test_parameterization.test_the_network_gets_an_int64_time_for_each_item_and_what_else_is_given",
    ),
    Fault(
        "an answer in v read as eps",
        "parameterization.complete",
        'if predicts == "eps"',
        'if predicts != "x0"',
        "test_parameterization.test_a_network_that_knows_gives_both_guesses_right",
    ),
    Fault(
        "the target of v taken for eps",
        "parameterization.Denoiser.target",
        'if self.predicts == "v"',
        "if False",
        "test_parameterization.test_the_loss_is_that_of_what_is_predicted",
    ),
    Fault(
        "all images from one stream",
        "sampling.image_generators",
        "spawn_key=(k,)",
        "spawn_key=(0,)",
        "test_sampling.test_streams_of_images_are_normal_and_independent",
    ),
    Fault(
        "streams counted from the batch, not from the first image",
        "sampling.image_generators",
        "range(first, first + n)",
        "range(n)",
        "test_sampling.test_image_k_depends_on_the_seed_and_on_k_alone",
    ),
    Fault(
        "guidance: w for 1 + w",
        "guidance._Guided.__call__",
        "conditional + self.scale * (conditional - unconditional)",
        "self.scale * conditional + (1 - self.scale) * unconditional",
        "test_guidance.test_guided_is_the_formula",
    ),
    Fault(
        "guidance towards no label",
        "guidance._Guided.__call__",
        "conditional + self.scale *",
        "conditional - self.scale *",
        "test_guidance.test_the_difference_is_the_gradient_of_the_posterior",
    ),
    Fault(
        "labels kept in the share to drop",
        "guidance.drop_labels",
        "< drop_prob",
        ">= drop_prob",
        "test_guidance.test_labels_are_dropped_in_the_share_asked_for",
    ),
    Fault(
        "eps from v: factors swapped",
        "parameterization.eps_from_v",
        "broadcast((1 - alpha_bar).sqrt(), xt) * xt + broadcast(alpha_bar.sqrt(), xt) * v",
        "broadcast(alpha_bar.sqrt(), xt) * xt + broadcast((1 - alpha_bar).sqrt(), xt) * v",
        "test_parameterization.test_a_new_network_that_predicts_v_gives_the_best_multiple_of_its_input",
    ),
    Fault(
        "v: sqrt missing on alpha_bar",
        "parameterization.velocity",
        "broadcast(alpha_bar.sqrt(), x0) * eps",
        "broadcast(alpha_bar, x0) * eps",
        "test_parameterization.test_the_guesses_are_those_of_v",
    ),
    Fault(
        "guidance: the label never told",
        "guidance._Guided.__call__",
        "self.net(xt, t, y=self.y)",
        "self.net(xt, t, y=torch.full_like(self.y, self.null_class))",
        "test_guidance.test_guided_follows_the_gradient_of_the_tilted_density",
    ),
    # images of your own
    Fault(
        "photographs are not turned",
        "data.picture.read_picture",
        "ImageOps.exif_transpose(opened, in_place=True)",
        "None",
        "test_data_folder.test_a_photograph_is_turned_as_its_camera_says",
    ),
    Fault(
        "another shape is squeezed",
        "data.picture._fitted",
        "ImageOps.fit(image, (w, h), ",
        "image.resize((w, h), ",
        "test_data_folder.test_another_shape_is_cropped_to_its_middle_or_padded",
    ),
    Fault(
        "height and width change places",
        "data.picture._fitted",
        '"RGB", form.size',
        '"RGB", form.size[::-1]',
        "test_data_folder.test_a_rectangle_is_height_by_width",
    ),
    Fault(
        "CIFAR-10: colours before rows",
        "data.cifar.cifar10",
        "reshape(-1, 3, 32, 32)",
        "reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)",
        "test_data_cifar.test_classes_planes_and_rows_are_where_they_belong",
    ),
    Fault(
        "emoji: columns before rows",
        "data.emoji.emoji",
        "permute(0, 2, 4, 1, 3)",
        "permute(2, 0, 4, 1, 3)",
        "test_data_emoji.test_glyphs_are_cut_from_the_sheet_row_by_row",
    ),
    Fault(
        "every image is read from the beginning of its part",
        "data.cache._read",
        "f.seek(place * size)",
        "f.seek(0)",
        "test_data_cache.test_a_file_gives_what_memory_gives",
    ),
    Fault(
        "a cache trusts its pixels",
        "data.cache._noted",
        'if hashlib.sha256(pixels).hexdigest() == about["sha256"]:',
        "if about:",
        "test_data_cache.test_a_part_that_changed_on_the_disk_is_made_again",
    ),
    Fault(
        "what is held out is trained on",
        "run.images.split",
        "data.part(order[k:].sort().values) if k else data",
        "data",
        "test_judge.test_what_is_held_out_is_a_function_of_how_many_there_are",
    ),
    Fault(
        "flipped top to bottom",
        "run.run._mirrored",
        "flip(3)",
        "flip(2)",
        "test_run.test_half_of_the_images_are_mirrored",
    ),
    Fault(
        "every image flipped",
        "run.run._mirrored",
        "< 0.5",
        "< 2",
        "test_run.test_half_of_the_images_are_mirrored",
    ),
    Fault(
        "the judge was trained on the images of the floor",
        "run.judge.judge",
        "images[n:], labels[n:], steps",
        "images, labels, steps",
        "test_judge.test_the_floor_is_of_images_that_the_classifier_did_not_see",
    ),
    Fault(
        "the held-out loss: times in another order than the images",
        "run.watch.losses_by_t",
        "1 + (2 * k + 1) * T",
        "1 + (2 * k.flip(0) + 1) * T",
        "test_judge.test_the_loss_by_t_is_that_of_each_time",
    ),
    # export
    Fault(
        "Philox: the two keys raised by each other's constant",
        "export.philox",
        "k, m = (k + np.uint64(0x9E3779B9)) & low, (m + np.uint64(0xBB67AE85)) & low",
        "k, m = (k + np.uint64(0xBB67AE85)) & low, (m + np.uint64(0x9E3779B9)) & low",
        "test_export.test_philox_gives_its_authors_answers",
    ),
    Fault(
        "portable noise: image and draw in each other's place, so that a draw is another image's",
        "export.portable_noise",
        "portable_normals(seed, k, draw, x[0]",
        "portable_normals(seed, draw, k, x[0]",
        "test_export.test_portable_noise_belongs_to_image_and_draw",
    ),
    Fault(
        "Box and Muller without the factor 2 in the radius",
        "export.portable_normals",
        "np.sqrt(-2 * np.log(u[:, ::2]))",
        "np.sqrt(-np.log(u[:, ::2]))",
        "test_export.test_portable_normals_are_normal_and_each_stands_alone",
    ),
]


def locate(where: str):
    "The module that a fault names, and the path within it: `training` and EMA, update."
    parts, known = where.split("."), house.modules()
    cut = max((i for i in range(1, len(parts)) if ".".join(parts[:i]) in known), default=0)
    if cut == 0:
        raise LookupError(f"{where} is in no module of ddpm_abc")
    return importlib.import_module("ddpm_abc." + ".".join(parts[:cut])), parts[cut:]


def broken(fault: Fault):
    "The function with the fault in it, where it is bound, and the original."
    module, (*parents, name) = locate(fault.where)
    owner = getattr(module, parents[0]) if parents else module
    original = inspect.getattr_static(owner, name)
    source = textwrap.dedent(inspect.getsource(original.fget if isinstance(original, property) else original))
    home = getattr(getattr(original, "fget", original), "__module__", module.__name__)
    if home != module.__name__:
        raise LookupError(
            f"{fault.where} is only passed on by {module.__name__}: name the module that defines it"
        )
    if fault.old not in source:
        raise LookupError(
            f"the fault {fault.name!r} no longer fits {fault.where}: {fault.old!r} is not in its source"
        )
    made: dict = {}
    exec(
        compile(
            "from __future__ import annotations\n" + source.replace(fault.old, fault.new),
            f"<{fault.name}>",
            "exec",
        ),
        vars(module),
        made,
    )
    return owner, name, original, made[name]


def plant(fault: Fault, patch: pytest.MonkeyPatch, test_module) -> None:
    "Put the fault wherever the original function is bound."
    owner, name, original, faulty = broken(fault)
    patch.setattr(owner, name, faulty)
    ours = [m for key, m in sys.modules.items() if key.split(".")[0] == "ddpm_abc"] + [test_module]
    ours += [
        m for m in list(sys.modules.values()) if Path(getattr(m, "__file__", None) or ".").parent == HERE
    ]
    for module in ours:
        for key, value in list(vars(module).items()):
            if value is original:
                patch.setattr(module, key, faulty)
            elif inspect.isfunction(value):
                defaults = inspect.unwrap(value).__kwdefaults__ or {}
                for parameter in [p for p, default in defaults.items() if default is original]:
                    patch.setitem(defaults, parameter, faulty)


def cases(test):
    "The keyword arguments of each case of a parametrized test."
    sets = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names = (
                mark.args[0].replace(" ", "").split(",")
                if isinstance(mark.args[0], str)
                else list(mark.args[0])
            )
            values = [
                getattr(v, "values", v)
                if type(v).__name__ == "ParameterSet"
                else (v if len(names) > 1 else (v,))
                for v in mark.args[1]
            ]
            sets.append([dict(zip(names, v, strict=True)) for v in values])
    for combination in itertools.product(*sets):
        yield {k: v for part in combination for k, v in part.items()}


def failure(test) -> BaseException | None:
    "Run a test, case after case, until one fails."
    for arguments in cases(test):
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            torch.random.fork_rng(devices=[]),
        ):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            if "monkeypatch" in inspect.signature(test).parameters:
                arguments["monkeypatch"] = patch
            try:
                test(**arguments)
            except (Exception, pytest.fail.Exception, pytest.skip.Exception) as e:
                return e
    return None


def explain(e: BaseException) -> str:
    "How far off: the value of the assert that failed, or the error that was raised."
    frames = list(traceback.walk_tb(e.__traceback__))
    ours = [
        (f, line)
        for f, line in frames
        if Path(f.f_code.co_filename).parent == HERE and f.f_code.co_filename != __file__
    ]
    first = (str(e).strip().splitlines() or [""])[0].partition(" No warnings of type")[0]
    if not isinstance(e, AssertionError) or not ours:
        return f"{type(e).__name__.replace('Failed', 'error missing')}: {cut(first)}"
    frame, line = ours[-1]
    tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    node = next(
        (
            n
            for n in ast.walk(tree)
            if isinstance(n, ast.Assert) and n.lineno <= line <= (n.end_lineno or n.lineno)
        ),
        None,
    )
    if node is None:  # torch.testing.assert_close says it itself
        found = re.search(r"^Greatest absolute difference: (\S+)", str(e), re.M)
        return f"off by {number(float(found[1]))}" if found else cut(first)
    scope = {**frame.f_globals, **frame.f_locals}

    def value(expression):
        with torch.no_grad():
            return eval(compile(ast.Expression(expression), "<assert>", "eval"), scope)

    try:
        return measure(node.test, value)
    except Exception:  # what the assert compares cannot be computed again: say which assert it was
        return f"not so: `{short(node.test)}`"


def cut(text: str, most: int = 76) -> str:
    return textwrap.shorten(text, most, placeholder=" ...")


def short(test: ast.expr) -> str:
    return cut(ast.unparse(test))


def measure(test: ast.expr, value) -> str:
    match test:
        case ast.Compare(left=left, ops=[ast.Lt() | ast.LtE()], comparators=[right]):
            return f"{number(value(left))}, limit {number(value(right))}"
        case ast.Compare(left=left, ops=[ast.Gt() | ast.GtE()], comparators=[right]):
            return f"{number(value(left))}, at least {number(value(right))}"
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            a, b = value(left), value(right)
            if type(b).__name__.startswith("Approx"):
                b = b.expected
            return difference(a, b)
        case ast.Compare(left=left, ops=[ast.Eq(), ast.Eq()], comparators=[middle, right]):
            a, b, c = value(left), value(middle), value(right)
            return difference(a, b) if a != b else difference(b, c)
        case ast.Call(func=ast.Attribute(attr="allclose" | "equal"), args=[left, right]):
            return difference(value(left), value(right))
    return f"not so: `{short(test)}`"


def difference(a, b) -> str:
    "What sets two things apart that should be equal."
    if isinstance(a, set) and isinstance(b, set):
        return f"{len(a ^ b)} in one and not in the other: {', '.join(map(str, sorted(a ^ b)[:4]))}"
    try:
        x, y = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    except (TypeError, ValueError, RuntimeError):
        return f"{number(a)}, should be {number(b)}"
    if x.shape != y.shape:
        return f"shape {tuple(x.shape)}, should be {tuple(y.shape)}"
    if x.numel() > 1 or number(a) == number(b):
        return f"off by {number((x - y).abs().max())}"
    return f"{number(a)}, should be {number(b)}"


def number(x) -> str:
    if isinstance(x, torch.Tensor) and x.numel() == 1 or isinstance(x, float):
        return f"{float(x):.2g}"
    if isinstance(x, (set, list, tuple)) and len(x) > 4:
        return f"{len(x)} values"
    return cut(str(x).removeprefix("torch."), 40)


def find(name: str):
    module, _, function = name.partition(".")
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    test_module = importlib.import_module(module)
    return test_module, getattr(test_module, function)


def outcome(fault: Fault) -> str | None:
    "What the named test says to the fault: by how much it fails, or None if it does not notice."
    test_module, test = find(fault.test)
    with pytest.MonkeyPatch.context() as patch:
        plant(fault, patch, test_module)
        e = failure(test)
        return None if e is None else explain(e)
