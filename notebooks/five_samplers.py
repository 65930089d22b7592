# %% [markdown]
# # One slice, five samplers
#
# **Question.** Three quarters of k-space were not measured. A learned prior fills them in. How much
# does the answer depend on the sampler, and where did the data leave it open?
#
# The data say $y = A x + n$. The prior is known through its denoiser at any noise level,
# $D(x; \sigma) = E[x_0 \mid x_0 + \sigma n = x]$. Every sampler alternates the two at falling
# $\sigma$:
#
# $$ z = D(x_k; \sigma_k), \qquad
#    \hat x = \arg\min_x \|A x - y\|^2 + \mu_k \|x - z\|^2, \qquad
#    x_{k+1} = \hat x + \sigma_{k+1} \varepsilon $$
#
# They differ in $\mu_k$, in what noise $\varepsilon$ they put back, and in whether $\hat x$ is a
# minimum or a random draw. The scan is *simulated* from an anatomical template that no prior has
# seen, so that there is a truth to compare with.

# %%
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import uniform_filter

import inverse
from inverse import demo
from inverse.metrics import nrmse, support


# %%
def show(images: dict[str, np.ndarray], vmax: float | None = None, cmap: str = "gray") -> None:
    """Draw magnitude images side by side, in one window of grey values."""
    _, axes = plt.subplots(1, len(images), figsize=(2.6 * len(images), 3.2), squeeze=False)
    for axis, (title, image) in zip(axes[0], images.items(), strict=True):
        drawn = axis.imshow(np.abs(image), cmap=cmap, vmin=0, vmax=vmax)
        axis.set(title=title, xticks=[], yticks=[])
    plt.colorbar(drawn, ax=axes[0].tolist(), fraction=0.02)
    plt.show()


# %%
measurement = demo.measurement()
problem = measurement.prepare()
truth = np.abs(measurement.reference)
inside = support(truth)
prior = inverse.load_prior("brain")
print(problem)
print(prior.name, "- trained noise levels up to", prior.largest_sigma)

# %% [markdown]
# ## The same data, the same prior, five samplers
#
# - `pnp_hqs` puts no noise back: a point estimate.
# - `dds` puts fresh noise back around a minimum.
# - `diffpir` with its paper's $\zeta = 0.3$ also keeps noise of the step before, what is left of it
#   after the data step. At its default, $\zeta = 1$, it keeps none and is `dds` to the last bit.
# - `ddnm` corrects only what the data determine.
# - `daps` draws $\hat x$ from the exact Gaussian of the data step, by solving with a randomly
#   perturbed right-hand side.
#
# No weight is given: each takes it from the noise that was measured.

# %%
calls = {
    "pnp_hqs": {"steps": 8},
    "dds": {"steps": 8},
    "diffpir": {"steps": 8, "zeta": 0.3},
    "ddnm": {"steps": 8},
    "daps": {"steps": 5, "prior_steps": 2, "sigma_max": 0.2},
}
results = {
    name: inverse.reconstruct(problem, method=name, prior=prior, **settings)
    for name, settings in calls.items()
}

# %%
show({name: r.image[0] for name, r in results.items()} | {"truth": truth[0]}, vmax=truth.max())

# %%
error = {}
for name, r in results.items():
    d = r.diagnostics
    error[name] = nrmse(np.abs(r.image), truth, inside, scale="real")
    print(
        f"{name:8s} NRMSE {error[name]:.3f}   residual / noise {d.residual_to_noise:.2f}   "
        f"{d.n_denoiser} calls of the prior, {d.n_operator} applications of A"
    )

# %% [markdown]
# ## The posterior: draw several
#
# One image hides what the data left open. Several draws show it: their mean is the estimate, their
# spread says where they disagree, and the *null-space share* says how much of a pixel comes from
# what was never measured, whatever the sampler claims.

# %%
several = inverse.reconstruct(problem, method="dds", prior=prior, steps=8, n_samples=3)
posterior = several.posterior
missed = np.abs(posterior.estimate - truth)

# %%
show({"mean": posterior.estimate[0], "truth": truth[0]}, vmax=truth.max())
show(
    {"std of the draws": posterior.std[0], "|mean - truth|": missed[0]},
    vmax=np.quantile(missed, 0.999),
    cmap="magma",
)
show({"null-space share": posterior.null_space_share[0]}, vmax=1.0, cmap="viridis")

# %% [markdown]
# The spread of a few draws is a hint, not yet a promise: `inverse.calibration` turns it into
# intervals that hold the truth as often as they say, on slices like those it was fitted on. What
# can be said here: the mean of three draws is better than one of them, and where they differ they
# tend to err.

# %%
error["mean of 3"] = nrmse(posterior.estimate, truth, inside, scale="real")
blurred = [uniform_filter(map_[0], 15)[inside[0]] for map_ in (posterior.std, missed)]
correlation = np.corrcoef(*blurred)[0, 1]
print(f"NRMSE of one draw {error['dds']:.3f}, of the mean of three {error['mean of 3']:.3f}")
print(f"correlation of spread and error, averaged over 15 x 15 pixels: {correlation:.2f}")

# %%
assert error["mean of 3"] < error["dds"]
assert correlation > 0.2
assert all(
    np.abs(one.image - other.image).max() > 0.01 * truth.max()
    for one, other in combinations(results.values(), 2)
)
