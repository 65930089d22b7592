"""The registry's checks catch what they are there for: operators with one fault each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch

from operators import LinearOperator, Sense, Tag
from operators.linear import _Apply
from tests.operators.properties import CHECKS
from tests.operators.registry import points, random_complex, sense_row

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

ROW = sense_row("sound", random_complex((4, 3, 5, 6), 31), points((5, 6), 32))

Rule = Callable[[Sense, torch.Tensor], torch.Tensor]
Change = Callable[[Sense], Sense]


class Faulty(LinearOperator):
    """A sound Sense with some of its rules replaced."""

    def __init__(
        self,
        sound: Sense,
        forward: Rule = Sense._forward,
        adjoint: Rule = Sense._adjoint,
        normal: Rule | None = None,
        move: Callable[[Sense, torch.dtype | None], Sense] = lambda s, d: s.to(dtype=d),
        tags: Iterable[Tag] = (),
    ) -> None:
        super().__init__(sound.domain, sound.range, device=sound.device, tags=tags)
        self.sound, self.rules, self.move = sound, (forward, adjoint, normal), move

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rules[0](self.sound, x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.rules[1](self.sound, y)

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        rule = self.rules[2]
        return self._adjoint(self._forward(x)) if rule is None else rule(self.sound, x)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LinearOperator:
        del device
        return type(self)(self.move(self.sound, dtype), *self.rules, self.move, self.tags)


class Lenient(Faulty):
    """Takes whatever broadcasts."""

    def _check(self, *_: object) -> None:
        return


class Detached(Faulty):
    """Computes outside the shared autograd function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x, self.domain, "forward")
        return self._forward(x.detach())


class Transposed(Faulty):
    """Is differentiated with A^T instead of A^H."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x, self.domain, "forward")
        return _Apply.apply(x, self, "_forward", "_transpose")

    def _transpose(self, y: torch.Tensor) -> torch.Tensor:
        return self._adjoint(y.conj()).conj()


def remade(s: Sense, csm: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> Sense:
    return Sense(s.csm if csm is None else csm, s.mask if mask is None else mask)


def unmasked(s: Sense) -> Sense:
    return remade(s, mask=torch.ones_like(s.mask))


def unconjugated(s: Sense) -> Sense:
    return remade(s, csm=s.csm.conj().resolve_conj())


def overwriting(s: Sense, x: torch.Tensor) -> torch.Tensor:
    y = s._forward(x)
    x.mul_(2)
    return y


def averaging(s: Sense, x: torch.Tensor) -> torch.Tensor:
    """Mixes the batch, as a sum over one axis too many does."""
    return s._normal(x if x.ndim == 3 else x + x.mean(0, keepdim=True))


def with_(kind: type[Faulty] = Faulty, **faults: object) -> Callable[[Sense], LinearOperator]:
    return lambda sound: kind(sound, **faults)


def throughout(change: Change) -> Callable[[Sense], LinearOperator]:
    """Forward, adjoint and normal agree with each other: they belong to another operator."""
    return with_(
        forward=lambda s, x: change(s)._forward(x),
        adjoint=lambda s, y: change(s)._adjoint(y),
        normal=lambda s, x: change(s)._normal(x),
    )


FAULTS: dict[str, tuple[str, Callable[[Sense], LinearOperator]]] = {
    "adjoint has the wrong sign": ("adjoint", with_(adjoint=lambda s, y: -s._adjoint(y))),
    "adjoint lacks the conjugate of the maps": (
        "adjoint",
        with_(adjoint=lambda s, y: unconjugated(s)._adjoint(y)),
    ),
    "normal lacks the conjugate of the maps": (
        "normal",
        with_(normal=lambda s, x: unconjugated(s)._adjoint(s._forward(x))),
    ),
    "mask is shifted by one throughout": (
        "truth",
        throughout(lambda s: remade(s, mask=s.mask.roll(1, -2))),
    ),
    "image is shifted by one in the forward map": (
        "adjoint",
        with_(forward=lambda s, x: s._forward(x.roll(1, -1))),
    ),
    "k-space is centred one off throughout": (
        "truth",
        with_(
            forward=lambda s, x: s._forward(x).roll(1, -1),
            adjoint=lambda s, y: s._adjoint(y.roll(-1, -1)),
        ),
    ),
    "forward is not normalised": ("adjoint", with_(forward=lambda s, x: 30**0.5 * s._forward(x))),
    "scale is one percent off throughout": ("truth", throughout(lambda s: remade(s, 1.01 * s.csm))),
    "adjoint ignores the mask": ("adjoint", with_(adjoint=lambda s, y: unmasked(s)._adjoint(y))),
    "normal ignores the mask": ("normal", with_(normal=lambda s, x: unmasked(s)._normal(x))),
    "coils are mixed up in the adjoint": (
        "adjoint",
        with_(adjoint=lambda s, y: s._adjoint(y.roll(1, -3))),
    ),
    "coils are mixed up throughout": (
        "truth",
        throughout(lambda s: remade(s, s.csm.roll(1, -3))),
    ),
    "slices are reversed throughout": ("truth", throughout(lambda s: remade(s, s.csm.flip(0)))),
    "batch is reversed": (
        "batch",
        with_(forward=lambda s, x: s._forward(x.flip(0) if x.ndim > 3 else x)),
    ),
    "batch is averaged in normal": ("batch", with_(normal=averaging)),
    "adjoint keeps only the real part": (
        "linearity",
        with_(adjoint=lambda s, y: s._adjoint(y).real.to(y.dtype)),
    ),
    "normal keeps only the magnitude": (
        "normal",
        with_(normal=lambda s, x: s._normal(x).abs().to(x.dtype)),
    ),
    "normal is one part in ten thousand off": (
        "normal",
        with_(normal=lambda s, x: 1.0001 * s._normal(x)),
    ),
    "normal skips an axis along which the mask varies": (
        "normal",
        with_(normal=lambda s, x: remade(s, mask=s.mask[:, :1])._normal(x)),
    ),
    "inverse transform stands for the forward one throughout": (
        "truth",
        with_(
            forward=lambda s, x: unconjugated(s)._forward(x.conj()).conj(),
            adjoint=lambda s, y: unconjugated(s)._adjoint(y.conj()).conj(),
        ),
    ),
    "forward adds a constant": ("linearity", with_(forward=lambda s, x: s._forward(x) + 0.1)),
    "forward adds an axis": (
        "shapes",
        with_(forward=lambda s, x: s._forward(x)[..., None, :, :], normal=Sense._normal),
    ),
    "forward changes the precision": (
        "shapes",
        with_(forward=lambda s, x: s._forward(x).to(torch.complex128)),
    ),
    "whatever broadcasts is accepted": ("refusals", with_(Lenient)),
    "argument is overwritten": ("argument_kept", with_(forward=overwriting)),
    "argument's memory is returned": ("argument_kept", with_(normal=lambda _, x: x)),
    "result is cut off from autograd": ("backward", with_(Detached)),
    "derivative is the transpose": ("backward", with_(Transposed)),
    "isometry is claimed": ("tags", with_(tags=[Tag.ISOMETRY])),
    "mask is lost in a move": ("moves", with_(move=lambda s, d: unmasked(s.to(dtype=d)))),
    "precision is kept in a move": ("moves", with_(move=lambda s, _: s)),
}


def run(check: str, op: LinearOperator) -> None:
    CHECKS[check](op, ROW.truth, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    check, plant = FAULTS[fault]
    with pytest.raises(AssertionError):
        run(check, plant(ROW.make(torch.complex64)))


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_fault_nothing_is_caught(check: str) -> None:
    run(check, Faulty(ROW.make(torch.complex64)))
