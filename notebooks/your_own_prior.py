# %% [markdown]
# # Fit your own prior
#
# **Question.** My images look like nothing anybody has published weights for. Can a few of them,
# and a minute, make a prior?
#
# A patch of an image lies near one of a few low-dimensional subspaces: edges of one direction,
# textures, flat areas. A *mixture of low-rank Gaussians* says just that,
#
# $$ x_0 \sim \sum_k \pi_k \, \mathcal N(\mu_k,\; U_k \Lambda_k U_k^T + s_k^2 I), $$
#
# and its denoiser is known in closed form at every noise level: no network, no training loop.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch

import inverse
from inverse import demo
from inverse.metrics import nrmse, support
from inverse.priors import PatchPrior
from inverse.priors.fit import fit_prior

# %% [markdown]
# ## 1. Images to learn from
#
# Any greyscale images with a peak of about one. Here: ridges of random direction and width, such as
# a microscope sees in a fibrous tissue. Yours are read by `inverse.training.read_images`, or on the
# command line: `inverse prior fit IMAGES -o mine.safetensors`.


# %%
def ridges(seed: int, size: int = 128) -> np.ndarray:
    """Draw an image of curved ridges with sharp edges."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    a, b, c = random.uniform(0, 2 * np.pi, 3)
    bend = 0.15 * np.sin(2 * np.pi * (np.cos(b) * x + np.sin(b) * y) + c)
    along = np.cos(a) * x + np.sin(a) * y + bend
    return (np.sin(2 * np.pi * random.uniform(3, 8) * along) > 0.2).astype(np.float32)


training = [ridges(seed) for seed in range(20)]
unseen = ridges(1000)

# %% [markdown]
# ## 2. The fit
#
# Expectation maximisation on 8 x 8 patches. `size`, `n_components` and `rank` are all there is to
# choose.

# %%
mine = fit_prior(training, size=8, n_components=24, rank=12, n_patches=20_000, name="ridges")
print(mine.card)

# %% [markdown]
# Each component has its subspace. The leading direction of the most frequent ones:

# %%
order = mine.mixture.log_weights.argsort(descending=True)[:10]
_, axes = plt.subplots(1, 10, figsize=(12, 1.6))
for axis, k in zip(axes, order, strict=True):
    axis.imshow(mine.mixture.bases[k, :, 0].reshape(8, 8), cmap="gray")
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 3. Does it denoise better than a prior of other images?
#
# The prior inside the package was fitted to photographs.

# %%
sigma = 0.2
generator = torch.Generator().manual_seed(0)
clean = torch.from_numpy(unseen)
noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
natural = inverse.load_prior("natural")
rms = {
    prior.name: float((prior.denoise(noisy, sigma) - clean).square().mean().sqrt())
    for prior in (natural, mine)
}
print({name: round(value, 4) for name, value in rms.items()}, "from", sigma)

# %% [markdown]
# ## 4. Keep it, and use it
#
# A file of some hundred kilobytes, which every method with a prior takes: `inverse recon scan.h5
# --prior mine.safetensors`.

# %%
with TemporaryDirectory() as folder:
    file = Path(folder) / "mine.safetensors"
    mine.save(file)
    print(f"{file.stat().st_size / 1e3:.0f} kB")
    again = PatchPrior.load(file)

# %%
measurement = demo.measurement()
problem = measurement.prepare()
truth = np.abs(measurement.reference)
for prior in (natural, again):
    image = inverse.reconstruct(problem, method="pnp_hqs", prior=prior, steps=8).image
    error = nrmse(np.abs(image), truth, support(truth), scale="real")
    print(f"brain scan under '{prior.name}': NRMSE {error:.3f}")

# %% [markdown]
# A prior of ridges is not one of brains: on the scan the photographs win, on ridges ours does. When
# in doubt, `prior="auto"` lets the data decide between the priors inside the package, by hiding
# some samples and predicting them.

# %%
assert rms[mine.name] < 0.9 * rms["natural"]
