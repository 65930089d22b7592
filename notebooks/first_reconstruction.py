# %% [markdown]
# # The first reconstruction
#
# **Question.** A scanner measured a quarter of k-space with eight coils. What did the object look
# like?
#
# Every coil $c$ sees the image $x$ through its own sensitivity $s_c$; the scanner measures the
# Fourier transform $F$ of that at the sampled positions $P$, with noise:
#
# $$ y_c = P F (s_c x) + n_c, \qquad c = 1 \dots C $$
#
# This notebook goes from the file to the image in four nouns: measurement, problem, method,
# reconstruction. The scan is *simulated* from an anatomical template, so that there is a truth to
# compare with at the end.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import inverse
from inverse import demo
from inverse.metrics import nrmse, support
from solvers import cg


# %%
def show(images: dict[str, np.ndarray], vmax: float | None = None) -> None:
    """Draw magnitude images side by side."""
    _, axes = plt.subplots(1, len(images), figsize=(3 * len(images), 3.4), squeeze=False)
    for axis, (title, image) in zip(axes[0], images.items(), strict=True):
        axis.imshow(np.abs(image), cmap="gray", vmax=vmax)
        axis.set(title=title, xticks=[], yticks=[])
    plt.show()


# %% [markdown]
# ## 1. The measurement: what was in the file
#
# This is the scan that comes with the package; your own is read by `inverse.load("scan.h5")`.
# Nothing is lost and nothing is repaired: samples, mask, geometry, noise scan.

# %%
measurement = demo.measurement()
print("k-space (slice, coil, y, x):", measurement.samples.shape)
print(f"acceleration: {measurement.acceleration:.2f}")

# %% [markdown]
# Three quarters of the lines are missing; the centre is complete, which is what lets the coils
# calibrate themselves.

# %%
lines = np.log(np.abs(measurement.samples[0, 0]) + 1e-3 * np.abs(measurement.samples).max())
show({"log |y|, first coil": lines - lines.min(), "mask": measurement.mask[0]})

# %% [markdown]
# ## 2. The problem: the equation that is left
#
# Preparation whitens the coils' noise, estimates the sensitivities $s_c$ from the complete centre
# (ESPIRiT) and puts both into a linear operator $A$. From here on nobody needs to know that this
# is MRI.

# %%
problem = measurement.prepare()
A, y = problem.operator, problem.data
print(A)
print(f"noise standard deviation, in units of the data: {problem.noise_std:.2e}")

# %%
csm = np.asarray(problem.details["csm"])
coils = csm.reshape(-1, *csm.shape[-2:])
show({f"coil {c + 1}": coils[c] for c in range(4)})

# %% [markdown]
# An operator knows its adjoint: $\langle A u, v \rangle = \langle u, A^H v \rangle$ for any $u$
# and $v$.

# %%
generator = torch.Generator().manual_seed(0)
u = torch.randn(A.domain.shape, dtype=A.domain.dtype, generator=generator)
v = torch.randn(A.range.shape, dtype=A.range.dtype, generator=generator)
left, right = torch.vdot(A(u).ravel(), v.ravel()), torch.vdot(u.ravel(), A.H(v).ravel())
print(f"relative difference: {abs(left - right) / (A(u).norm() * v.norm()):.1e}")

# %% [markdown]
# ## 3. The method: three ways to solve it
#
# *Zero-filled*, $A^H y$: fast, and aliased. *Least squares* by conjugate gradients on $A^H A x =
# A^H y$: the aliasing goes, the noise grows. By hand that is one line, because a solver takes
# anything that can be applied:

# %%
solution = cg(A.normal, A.H(y), maxiter=10)
print(solution.status[0].value)

# %% [markdown]
# The registered method does the same, and stops where the image explains the data to within their
# noise. *With a prior*, here that of photographs, the best is chosen automatically, and says why.
# Without `prior` the data choose that too, which takes a few times longer.

# %%
zero_filled = inverse.reconstruct(problem, method="zero_filled")
least_squares = inverse.reconstruct(problem, method="cg_sense")
best = inverse.reconstruct(problem, method="auto", prior="natural")

# %%
truth = np.abs(measurement.reference)
results = {"zero-filled": zero_filled, "CG-SENSE": least_squares, best.method: best}
show({name: r.image[0] for name, r in results.items()} | {"truth": truth[0]}, vmax=truth.max())

# %% [markdown]
# ## 4. The reconstruction: an image, and how far to trust it
#
# Two numbers. The *residual against the noise* needs no truth: far above 1, the image does not
# explain what was measured; a little below 1 is usual, because every fit takes up some noise. It
# says nothing about what was not measured. The *error against the truth* exists because this scan
# is simulated.

# %%
error = {}
for name, r in results.items():
    error[name] = nrmse(np.abs(r.image), truth, support(truth), scale="real")
    ratio = r.diagnostics.residual_to_noise
    print(f"{name:12s} residual / noise {ratio:5.2f}   NRMSE {error[name]:.3f}")

# %% [markdown]
# The prior must be better than least squares, and least squares better than doing nothing:

# %%
assert error[best.method] < error["CG-SENSE"] < error["zero-filled"]
