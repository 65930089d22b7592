# %% [markdown]
# # A data set for a neural operator, from the equation to the network
#
# **Question.** A neural operator learns the map from a medium $a(x)$ to the solution $u(x)$ of
#
# $$ -\nabla \cdot (a \nabla u) = f, \qquad u = 0 \text{ on the walls} $$
#
# from solved examples. Where do the examples come from, how do we know that they are solved, and
# does a network learn from them?
#
# This notebook draws 200 media (Darcy flow: $a$ is the hydraulic conductivity, $u$ the head),
# solves them to a residual of $10^{-10}$, checks every one from the file alone, looks at some,
# exports them as the neuraloperator library wants them, and trains a Fourier neural operator for
# about a minute.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from inverse.pde.export import export
from inverse.pde.generate import generate
from inverse.pde.pilot import choose_solver, pilot
from inverse.pde.plan import Plan
from inverse.pde.plot import draw_samples
from inverse.pde.store import open_data_set
from inverse.pde.verify import verify
from inverse.pde.workers import Here

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. The plan: everything that decides the bytes
#
# Each sample has a seed of its own, so that nothing depends on the workers or on the other samples.
# Which solver is best depends on the equation; the pilot tries all that can on a few samples. (On
# the command line all of this is `inverse pde generate darcy -n 200 --grid 32 -o darcy.h5`.)

# %%
plan = Plan("darcy", shape=(32, 32), n_samples=200, solver="direct", seed=1)
trials = pilot(plan)
for trial in trials:
    words = "" if trial.converged else "  did not converge"
    print(f"{trial.solver:10s} {trial.milliseconds:8.2f} ms a sample{words}")
plan = Plan("darcy", shape=(32, 32), n_samples=200, solver=choose_solver(trials), seed=1)

# %% [markdown]
# ## 2. The samples, and the proof that they are solved
#
# A run that is killed goes on where it was: repeat the same call. `verify` recomputes
# $\|f - A u\| / \|f\|$ from what is stored and compares a digest of every sample.

# %%
made = generate(plan, folder / "darcy.h5", runner=Here())
certificate = verify(made.path)
print(f"{made.n_solved} samples, {1e3 * made.seconds / made.n_solved:.2f} ms each")
print(f"largest residual {certificate.largest_residual:.1e}, sound: {certificate.is_sound}")

# %%
with open_data_set(made.path) as data:
    draw_samples(plan, [data.rows(i, i + 1) for i in (0, 1, 2)]).savefig(folder / "samples.png")
plt.figure(figsize=(7, 9))
plt.imshow(plt.imread(folder / "samples.png"))
plt.axis("off")
plt.show()

# %% [markdown]
# ## 3. The export
#
# Two files of float32 tensors, in sample order, the last fifth for the test: what neuraloperator's
# `DarcyDataset(folder, ..., download=False)` opens. Here plain torch does.

# %%
with open_data_set(made.path) as data:
    train_file, test_file = export(data, "neuraloperator", folder / "tensors")
train = torch.load(train_file, weights_only=True)
test = torch.load(test_file, weights_only=True)
print(train_file.name, tuple(train["x"].shape), train["x"].dtype)

# %% [markdown]
# ## 4. The network
#
# neuraloperator's `FNO` if it is installed. It is not a requirement of this package; without it a
# Fourier neural operator of the same kind stands below: multiply the lowest frequencies by learned
# matrices, add a pointwise linear map, repeat.


# %%
class Spectral(nn.Module):
    """Learned matrices on the lowest frequencies, and a pointwise map."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.point = nn.Conv2d(width, width, 1)
        self.weights = nn.Parameter(torch.randn(2, width, width, modes, modes, 2) / width)

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        """Apply to (n, width, y, x)."""
        m, low, w = self.modes, torch.fft.rfft2(v), torch.view_as_complex(self.weights)
        out = torch.zeros_like(low)
        out[..., :m, :m] = torch.einsum("nixy,ioxy->noxy", low[..., :m, :m], w[0])
        out[..., -m:, :m] = torch.einsum("nixy,ioxy->noxy", low[..., -m:, :m], w[1])
        return nn.functional.gelu(torch.fft.irfft2(out, s=v.shape[-2:]) + self.point(v))


class WithPlaces(nn.Module):
    """The coordinates of every point as two more channels."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """Apply to (n, 1, y, x)."""
        y, x = (torch.linspace(0, 1, n) for n in a.shape[-2:])
        places = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(len(a), -1, -1, -1)
        return torch.cat([a, places], dim=1)


torch.manual_seed(0)
try:
    from neuralop.models import FNO

    name, model = "neuraloperator's FNO", FNO((8, 8), 1, 1, 24, n_layers=3)
except ImportError:
    layers = [Spectral(24, 8) for _ in range(3)]
    name = "the small FNO above (pip install neuraloperator for the library's)"
    model = nn.Sequential(WithPlaces(), nn.Conv2d(3, 24, 1), *layers, nn.Conv2d(24, 1, 1))
print(f"{name}: {sum(p.numel() for p in model.parameters())} weights")

# %% [markdown]
# The medium is given as its logarithm; both sides are brought to unit scale by figures of the
# training set alone. The error is the relative $L^2$ error of each sample, averaged.

# %%
mean, std = train["x"].log().mean(), train["x"].log().std()
scale = train["y"].std()


def predicted(x: torch.Tensor) -> torch.Tensor:
    """Return heads in metres for conductivities (n, y, x)."""
    return scale * model(((x.log() - mean) / std)[:, None])[:, 0]


def error(found: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Average the relative error of each sample."""
    return ((found - u).flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)).mean()


# %%
n_epochs = 25
optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-4)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=n_epochs * 10)
history = []
for _ in range(n_epochs):
    for rows in torch.randperm(len(train["x"])).split(16):
        optimiser.zero_grad()
        loss = error(predicted(train["x"][rows]), train["y"][rows])
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        history.append((loss.item(), error(predicted(test["x"]), test["y"]).item()))

# %%
plt.figure(figsize=(5, 3))
plt.semilogy(np.array(history), label=["training, last batch", "test"])
plt.xlabel("epoch")
plt.ylabel("relative error")
plt.legend()
plt.show()

# %%
with torch.no_grad():
    found = predicted(test["x"])
pictures = {
    "a": test["x"][0],
    "u": test["y"][0],
    "network": found[0],
    "error": found[0] - test["y"][0],
}
_, axes = plt.subplots(1, 4, figsize=(13, 3))
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    plt.colorbar(axis.imshow(picture, origin="lower"), ax=axis)
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Two numbers. Against the 40 test samples, the network errs by a few per cent; answering with the
# mean of the training solutions, whatever the medium, errs several times as much. The labels solve
# the discrete equation to $10^{-10}$: what is left is the network's error, not the solver's.

# %%
of_mean = error(train["y"].mean(0).expand_as(test["y"]), test["y"]).item()
of_network = history[-1][1]
print(f"network {of_network:.1%}, mean of the training set {of_mean:.1%}")

# %%
assert certificate.is_sound and of_network < 0.5 * of_mean
