from __future__ import annotations

import base64
import dataclasses
import html
import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from inverse.errors import ResourceError
from inverse.grid import Grid
from inverse.methods import METHODS, find
from inverse.mri.coil_array import coil_maps
from inverse.posterior import Interval, Posterior
from inverse.provenance import Recipe, record
from inverse.reconstruction import Diagnostics, Reconstruction
from inverse.report import render, write_report
from inverse.report.charts import convergence_curve, gauge_position
from inverse.report.orientation import hang
from inverse.report.pictures import mask_picture, noise_correlation, phase_colours
from inverse.report.png import encode
from inverse.report.references import citations
from inverse.report.uncertainty import coloured, ramp, uncertainty_of
from inverse.report.viewer import WHITE, pack, viewer_of
from inverse.report.words import image_kind, residual_verdict, title_of, viewer_hints

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
MARKER = "<script>alert('marker')</script>"


def reconstruction(shape: tuple[int, int, int] = (3, 40, 32), **changed: object) -> Reconstruction:
    generator = np.random.default_rng(0)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    truth = ((x**2 + y**2 < 0.6) * (1 + 0.3 * z) + (y > 0.7)).astype(np.float32)
    noise = generator.standard_normal((2, *shape)).astype(np.float32)
    image = (truth + 0.02 * (noise[0] + 1j * noise[1])).astype(np.complex64)
    grid = Grid(shape, (4.0, 2.0, 1.0))
    mask = np.zeros((1, *shape[1:]), dtype=bool)
    mask[:, ::2] = True
    made = Reconstruction(
        image=image,
        grid=grid,
        method="l1_wavelet",
        settings={"weight": 0.01, "iterations": 60},
        diagnostics=Diagnostics(
            residual_std=1.03,
            noise_std=1.0,
            status="the data are explained to within their noise",
            iterations=12,
            n_operator=30,
            seconds={"prepare": 0.5, "reconstruct": 1.5},
            history=tuple(0.5**i for i in range(12)),
        ),
        baseline=(0.5 * image).astype(np.complex64),
        reference=truth,
        details={
            "csm": coil_maps(grid, 4).swapaxes(0, 1)[:, None],
            "mask": mask,
            "noise_covariance": np.eye(4, dtype=complex),
        },
        provenance=record(
            Recipe("l1_wavelet"),
            inputs={"format": "ismrmrd", "sha256": {"h5": "ab" * 32}},
            preparation={"channels": 4, "maps": "ESPIRiT"},
            image=image,
            seconds={},
        ),
    )
    return dataclasses.replace(made, **changed)


def posterior(dispersion: float, *, n: int = 8, **changed: object) -> Posterior:
    """Samples that spread more on the right; a quarter of every voxel is undetermined."""
    generator = np.random.default_rng(4)
    image = reconstruction().image
    spread = 0.1 * np.linspace(0, 1, image.shape[-1])
    samples = image + spread * generator.standard_normal((n, *image.shape))
    share = np.full(image.shape, 0.25, np.float32)
    return dataclasses.replace(
        Posterior(samples.astype(np.complex64), share, dispersion), **changed
    )


class _Page(HTMLParser):
    """Every element and attribute of a page; unbalanced elements are an error."""

    VOID = frozenset({"meta", "img", "input", "br", "link", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in {"src", "href", "action", "srcset"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        del attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_complete_offline_page(tmp_path: Path) -> None:
    path = write_report(reconstruction(), tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?://|url\(|@import|\bfetch\(", text)
    assert page.tags.count("script") == 2
    assert "1.03 times their noise" in text
    assert "channels" in text
    assert "ab" * 32 in text
    assert "doi:10.1137/080716542" in text
    assert "NRMSE" in text
    assert len(list(tmp_path.iterdir())) == 1


def test_the_report_of_a_bare_reconstruction_is_complete_too() -> None:
    bare = reconstruction(
        reference=None, details={}, provenance={}, settings={},
        diagnostics=Diagnostics(residual_std=0.0, noise_std=0.0),
        grid=Grid((3, 40, 32), (1, 1, 1), is_nominal=True),
    )  # fmt: skip
    text = render(bare)
    _Page(text)
    assert "noise level of these data is not known" in text
    assert "no patient orientation" in text
    assert "Against the reference" not in text
    assert " mm</span>" not in text


@pytest.mark.filterwarnings("error")
def test_images_that_are_zero_or_hold_nan_still_get_a_report() -> None:
    zero = np.zeros((1, 9, 9), dtype=np.complex64)
    small = {"grid": Grid((1, 9, 9), (1, 1, 1)), "details": {}}
    _Page(render(reconstruction(image=zero, baseline=zero, reference=zero.real, **small)))
    broken = zero.copy()
    broken[0, 3, 3] = complex(np.nan, np.inf)
    _Page(render(reconstruction(image=broken, baseline=zero, reference=None, **small)))


def test_hostile_text_stays_text() -> None:
    hostile = reconstruction(
        method=MARKER,
        settings={MARKER: MARKER},
        diagnostics=Diagnostics(
            residual_std=1.0, noise_std=1.0, status=MARKER, warnings=(MARKER,),
            seconds={MARKER: 1.0},
        ),
        provenance={
            "preparation": {MARKER: [MARKER]},
            "inputs": {"format": MARKER, "sha256": {"h5": MARKER}},
            "recipe": {"prior": MARKER},
            "why": MARKER,
            MARKER: "</script><img src=x onerror=alert(1)>",
        },
    )  # fmt: skip
    text = render(hostile)
    page = _Page(text)
    assert "<script>alert" not in text
    assert page.tags.count("script") == 2
    assert not any(address.startswith("x") for address in page.addresses)
    assert html.escape(MARKER) in text or "&lt;script&gt;" in text


def test_large_volumes_stay_below_five_megabytes() -> None:
    generator = np.random.default_rng(1)
    shape = (60, 256, 256)
    image = generator.standard_normal(shape, dtype=np.float32).astype(np.complex64)
    large = reconstruction(
        image=image, baseline=image, reference=None, details={}, grid=Grid(shape, (1, 1, 1))
    )
    text = render(large)
    assert len(text) < 5_000_000
    viewer = viewer_of(large, hang(large.grid))
    assert 2 < len(viewer.slices) < 60
    assert len(set(np.diff(viewer.slices))) <= 2
    assert any("of 60 slices" in hint for hint in viewer_hints(viewer, hang(large.grid)))


def test_a_failed_write_keeps_the_old_report(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="not written"):
        write_report(reconstruction(), tmp_path / "absent" / "r.html")


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_grey_png_files_are_read_back_by_pillow(pixels: np.ndarray) -> None:
    with Image.open(BytesIO(encode(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_colour_png_files_are_read_back_by_pillow() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with Image.open(BytesIO(encode(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 4), st.integers(1, 9))))
def test_packed_levels_are_restored_by_cumulative_sums(levels: np.ndarray) -> None:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(pack(levels))), np.uint8)
    low, high = planes.reshape(2, -1).astype(np.uint16)
    restored = np.cumsum(low + 256 * high, dtype=np.uint16)
    np.testing.assert_array_equal(restored.reshape(levels.shape), levels)


def test_the_layers_are_the_magnitudes_on_one_scale() -> None:
    made = reconstruction()
    viewer = viewer_of(made, hang(made.grid))
    planes = np.frombuffer(zlib.decompress(base64.b64decode(viewer.layers["baseline"])), np.uint8)
    low, high = planes.reshape(2, -1).astype(np.uint16)
    shown = np.cumsum(low + 256 * high, dtype=np.uint16).reshape(viewer.shape)
    expected = np.abs(made.image) / viewer.full_scale * WHITE
    assert np.abs(shown - expected).max() <= 0.51
    assert viewer.baseline_scale == pytest.approx(2, rel=1e-3)


def axes_of(right: str, down: str, **changed: object) -> Grid:
    """A grid whose columns run to `right` and rows to `down`, as patient letters."""
    vectors = {
        "L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1),
        "F": (0, 0, -1),
    }  # fmt: skip
    x, y = (tuple(map(float, vectors[letter])) for letter in (right, down))
    z = tuple(map(float, np.cross(x, y)))
    return Grid((1, 4, 6), (5, 2, 1), x_direction=x, y_direction=y, z_direction=z, **changed)


@pytest.mark.parametrize(
    ("right", "down", "plane", "letters"),
    [
        (*pair, "axial", ("R", "L", "A", "P"))
        for pair in ("LP", "RP", "LA", "RA", "PL", "PR", "AL", "AR")
    ]
    + [(*pair, "coronal", ("R", "L", "H", "F")) for pair in ("LF", "RH", "HL", "FR")]
    + [(*pair, "sagittal", ("A", "P", "H", "F")) for pair in ("PF", "AH", "HA", "FP")],
)
def test_every_stored_orientation_hangs_the_same_way(
    right: str, down: str, plane: str, letters: tuple[str, str, str, str]
) -> None:
    grid = axes_of(right, down)
    hanging = hang(grid)
    assert (hanging.plane, hanging.letters) == (plane, letters)
    # A voxel that lies towards the letter on the right must be shown on the right.
    directions = {"L": (0, 1), "P": (1, 1), "F": (2, -1)}
    positions = grid.position_mm(np.argwhere(np.ones(grid.shape))).reshape(*grid.shape, 3)
    for letter, axis in ((letters[1], -1), (letters[3], -2)):
        component, sign = directions[letter]
        shown = hanging.apply(positions[..., component])[0] * sign
        assert (np.diff(shown, axis=axis) > 0).all()
    assert hanging.pixel_mm == ((1, 2) if hanging.is_transposed else (2, 1))


def test_tilted_and_unknown_orientations_say_so() -> None:
    angle = np.deg2rad(20)
    tilted = Grid(
        (1, 4, 4), (1, 1, 1),
        y_direction=(0, np.cos(angle), np.sin(angle)),
        z_direction=(0, -np.sin(angle), np.cos(angle)),
    )  # fmt: skip
    assert hang(tilted).plane == "oblique axial"
    assert hang(axes_of("L", "P", is_nominal=True)).letters == ("", "", "", "")


@pytest.mark.parametrize(
    ("ratio", "tone", "words"),
    [
        (1.03, "good", "1.03 times"),
        (0.6, "caution", "follows much of the noise"),
        (0.6, "caution", "noise was overestimated"),
        (0.95, "good", "a little below 1 is usual"),
        (1.0, "good", "It says nothing about what was not measured."),
        (2.0, "caution", "not in the image"),
        (float("nan"), "unknown", "cannot be judged"),
    ],
)
def test_the_verdict_on_the_residual(ratio: float, tone: str, words: str) -> None:
    verdict = residual_verdict(ratio)
    assert verdict.tone == tone
    assert words in verdict.headline + verdict.meaning


@pytest.mark.parametrize("n_maps", [None, 1, 2])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.14, 1.16, 5.0])
def test_two_sets_of_maps_are_suggested_where_they_may_help(
    ratio: float, n_maps: int | None
) -> None:
    verdict = residual_verdict(ratio, n_maps=n_maps)
    assert ("--maps 2" in verdict.meaning) == (ratio > 1.15 and n_maps == 1)
    assert "nothing about what was not measured" in verdict.meaning


def test_the_page_takes_the_number_of_maps_from_the_recipe() -> None:
    large = dataclasses.replace(reconstruction().diagnostics, residual_std=2.0)
    for n_maps in (1, 2):
        text = render(reconstruction(diagnostics=large, provenance={"recipe": {"maps": n_maps}}))
        assert ("--maps 2" in text) == (n_maps == 1)


@pytest.mark.parametrize(
    ("method", "settings", "words", "first"),
    [
        ("cg_sense", {"iterations": "auto"}, "estimated squared error", 1),
        ("cg_sense", {"iterations": 9}, "residual of the normal equations", 0),
        ("mine", {}, "progress measure of the method", 1),
    ],
)
def test_the_convergence_curve_names_its_quantity_and_axes(
    method: str, settings: dict[str, object], words: str, first: int
) -> None:
    text = render(reconstruction(method=method, settings=settings))
    assert f"Convergence: {words}" in text
    axis = f"<span>{first}</span><span>iteration</span><span>{first + 11}</span>"
    assert axis in text
    assert '<span class="end">bottom: 0.000488</span>' in text
    assert "the vertical axis is logarithmic" in text


def test_the_curve_of_a_method_with_a_prior_is_that_of_its_change() -> None:
    counted = dataclasses.replace(reconstruction().diagnostics, n_denoiser=20)
    text = render(reconstruction(method="pnp_dm", diagnostics=counted))
    assert "Convergence: length of the image&#39;s change" in text
    assert "Plug-and-play diffusion (split Gibbs)" in text


def test_every_method_has_a_title_and_something_to_cite() -> None:
    find("tv")  # fills the table
    for method in METHODS:
        made = reconstruction(method=method, details={})
        assert title_of(method) not in {method, method.replace("_", " ")}
        assert (len(citations(made, "1")) > 1) == (method != "zero_filled")


def test_settings_have_plain_labels() -> None:
    text = render(
        reconstruction(settings={"sigma_max": 0.1, "my_own": 2}, provenance={"preparation": {
            "noise": "noise scan of 1024 samples"
        }})
    )  # fmt: skip
    for label in ("noise level of the first step", "my own", "noise level taken from"):
        assert f"<dt>{label}</dt>" in text
    assert "sigma max" not in text
    assert "<dt>noise</dt>" not in text


def test_both_pictures_are_in_the_page_before_any_script_runs() -> None:
    """In the first window of the viewer, as a browser without script shows them."""
    made = reconstruction()
    viewer = viewer_of(made, hang(made.grid))
    frames = re.findall(
        r'<div class="frame">\s*<img src="data:image/png;base64,([^"]+)"', render(made)
    )
    levels = np.abs(made.image[1]) / viewer.full_scale * WHITE
    for still, scale in zip(frames, (1.0, viewer.baseline_scale * 0.5), strict=True):
        with Image.open(BytesIO(base64.b64decode(still))) as image:
            expected = np.clip(255 * scale * levels / viewer.bright, 0, 255)
            np.testing.assert_allclose(np.asarray(image), expected, atol=1.1)


def test_simulated_and_learned_images_say_so_in_the_page() -> None:
    assert image_kind(reconstruction()) == ()
    marked = reconstruction(
        provenance={"acquisition": {"source": "simulation"}, "recipe": {"prior": "natural"}}
    )
    sentences = image_kind(marked)
    assert "Simulated data" in sentences[0]
    assert "learned prior" in sentences[1]
    text = render(marked)
    assert all(sentence in text for sentence in sentences)


def test_citations_name_the_suite_the_method_and_the_calibration() -> None:
    cited = citations(reconstruction(), "9.9")
    assert "Version 9.9" in cited[0]
    assert any("mrm.24751" in text for text in cited)
    assert len(citations(reconstruction(method="mine", details={}), "1")) == 1


def test_curves_and_gauges_stay_inside_their_drawing() -> None:
    assert convergence_curve([1.0]) is None
    assert convergence_curve([float("nan"), 1.0, float("inf")]) is None
    for history in ([3.0, 3.0], [1.0, -1.0, 0.0], [1e-30, 1e30]):
        curve = convergence_curve(history)
        points = [tuple(map(float, p.split(","))) for p in curve.points.split()]
        assert all(0 <= x <= curve.width and 0 <= y <= curve.height for x, y in points)
        assert curve.is_logarithmic == (min(history) > 0)
    assert gauge_position(0.0) == 0
    assert gauge_position(float("nan")) == 0
    assert gauge_position(10.0) == 100


def test_still_pictures_show_what_they_say() -> None:
    mask = np.zeros((1, 6, 8, 5), dtype=bool)
    mask[:, 2, 3] = True
    picture = mask_picture(mask)
    assert picture.shape == (6, 8)
    assert np.argwhere(picture).tolist() == [[2, 3]]
    covariance = np.array([[4.0, 3.0], [3.0, 9.0]])
    assert noise_correlation(covariance).tolist() == [[255, 127], [127, 255]]
    colours = phase_colours(np.array([0.0, 2 * np.pi, np.pi]))
    assert (colours[0] == colours[1]).all()
    assert (colours[0] != colours[2]).any()


def test_the_page_shows_what_the_data_left_open() -> None:
    made = reconstruction(posterior=posterior(0.8))
    text = render(made)
    page = _Page(text)
    assert "By root mean square, the data did not decide 25 % of this image." in text
    assert "8 images were drawn" in text
    assert "differ there by 0.80 times the noise" in text
    assert "Exact samples would hold the truth in at most 78 % of the voxels" in text
    for words in ("Where the data did not decide", "How wide the interval is"):
        assert words in text
    assert page.tags.count("button") == len(re.findall("<button", text))
    assert 'data-layer="undetermined"' in text
    plain = render(reconstruction())
    assert 'data-layer="undetermined"' not in plain
    assert "did not decide" not in plain


def test_the_maps_of_the_viewer_are_those_of_the_posterior() -> None:
    made = reconstruction(posterior=posterior(0.8))
    found = uncertainty_of(made.posterior)
    viewer = viewer_of(made, hang(made.grid), found)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(viewer.layers["undetermined"])), "u1")
    low, high = planes.reshape(2, -1).astype(np.uint16)
    shown = np.cumsum(low + 256 * high, dtype=np.uint16).reshape(viewer.shape)
    inside = made.posterior.inside
    assert (shown[~inside] == 0).all()
    assert (shown[inside] == WHITE).all()  # the share is 0.25 everywhere: its own range ends there
    assert found.brightest["undetermined"] == "25 % or more"
    width = found.maps["width"]
    assert np.isnan(width[~inside]).all()
    left, right = width[:, 10:30, 4:12], width[:, 10:30, 20:28]
    assert np.nanmean(right) > 1.5 * np.nanmean(left)


def test_the_share_is_shown_in_the_range_that_matters() -> None:
    """A tenth in the object and all of it where there is nothing: a tenth ends the scale."""
    estimate = np.ones((1, 40, 40), np.complex64)
    estimate[:, :4] = 1e-3
    estimate[:, 20:, 20:] = 2
    share = np.full(estimate.shape, 0.1, np.float32)
    share[:, :4], share[:, 10:20] = 1, 0.05
    made = Posterior(np.stack([estimate, 1.1 * estimate]), share, 0.9)
    found = uncertainty_of(made)
    assert found.brightest["undetermined"] == "10 % or more"
    assert "(10 % or more; that part was made by the prior)" in found.captions["undetermined"]
    shown = found.maps["undetermined"]
    assert shown[0, 15, 15] == pytest.approx(0.5)
    assert shown[0, 30, 30] == pytest.approx(1)
    grid = Grid((1, 40, 40), (1, 1, 1))
    images = {"image": estimate, "baseline": estimate, "reference": None}
    text = render(reconstruction(posterior=made, grid=grid, details={}, **images))
    assert "<span>10 % or more</span>" in text


def test_a_map_that_shows_nothing_new_is_left_out() -> None:
    made = posterior(0.8)
    assert set(uncertainty_of(made).maps) == {"undetermined", "width", "spread"}
    half = 3 * made.std
    ends = (made.estimate - half, made.estimate + half)
    calibrated = posterior(0.8, calibrated=Interval(0.9, *ends, "calibrated on 4 slices"))
    found = uncertainty_of(calibrated)
    assert set(found.maps) == {"undetermined", "width"}
    assert found.captions.keys() == found.brightest.keys() == found.maps.keys()
    assert "in proportion to the standard deviation of the samples" in found.captions["width"]
    text = render(reconstruction(posterior=calibrated))
    assert "How far the samples spread" not in text
    assert "How far the samples spread" in render(reconstruction(posterior=made))


@pytest.mark.parametrize(("n", "percent"), [(3, 50), (9, 25), (51, 10)])
def test_the_speckle_of_few_samples_is_said(n: int, percent: int) -> None:
    """The standard deviation of n Gaussian values is off by 1 / sqrt(2 (n - 1)) of itself."""
    drawn = np.random.default_rng(0).standard_normal((20_000, n)).std(1, ddof=1)
    assert 100 * drawn.std() / drawn.mean() == pytest.approx(percent, rel=0.12)
    caption = uncertainty_of(posterior(0.8, n=n)).captions["width"]
    assert f"off by some {percent} %: its speckle is chance, and nothing was smoothed" in caption


def test_the_report_says_what_the_spread_is_worth() -> None:
    verdict = "The spread does not show where the errors are, only how large they are on average"
    made = posterior(0.8)
    assert any("is not known of these samples" in s for s in uncertainty_of(made).sentences)
    interval = Interval(0.9, made.estimate, made.estimate + 1, "calibrated", verdict)
    told = render(reconstruction(posterior=posterior(0.8, calibrated=interval)))
    assert verdict in told
    assert "is not known of these samples" not in told


def test_samples_that_contradict_the_data_are_warned_of() -> None:
    found = uncertainty_of(posterior(2.3))
    assert found.tone == "caution"
    assert any("contradict each other" in s and "2.30" in s for s in found.sentences)
    assert uncertainty_of(posterior(0.9)).tone == "good"
    unknown = uncertainty_of(posterior(float("nan")))
    assert any("noise of the data is not known" in s for s in unknown.sentences)


def test_an_interval_says_where_it_comes_from() -> None:
    shape = reconstruction().image.shape
    ends = (np.zeros(shape, np.float32), np.ones(shape, np.float32))
    interval = Interval(0.95, *ends, "calibrated on 12 slices whose truth was known")
    calibrated = uncertainty_of(posterior(0.9, calibrated=interval))
    assert "The 95 % interval is calibrated on 12 slices" in calibrated.sentences[-1]
    assert "Width of the 95 % interval" in calibrated.captions["width"]
    cited = citations(reconstruction(posterior=posterior(0.9, calibrated=interval)), "1")
    assert "01621459.2017.1307116" in cited[-1]
    many = uncertainty_of(posterior(0.9, n=19)).sentences[-1]
    assert many == "The 90 % interval is the quantiles of 19 samples, not calibrated."


def test_posteriors_of_nothing_still_get_a_report() -> None:
    zero = np.zeros((1, 9, 9), dtype=np.complex64)
    nothing = Posterior(np.stack([zero, zero]), zero.real, 0.0)
    grid = Grid((1, 9, 9), (1, 1, 1))
    text = render(
        reconstruction(
            image=zero, baseline=zero, reference=None, grid=grid, details={}, posterior=nothing
        )
    )
    _Page(text)
    assert "did not decide 0 %" in text


def test_maps_are_painted_from_dark_to_bright_and_grey_outside() -> None:
    painted = coloured(np.array([0.0, 1.0, 2.0, np.nan]))
    assert painted.tolist() == [[12, 12, 40], [252, 240, 170], [252, 240, 170], [24, 24, 24]]
    lightness = ramp() @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def browse(path: Path, folder: Path) -> tuple[str, str]:
    """Open a page in a headless browser; return its final document and its console."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={folder}",
        "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


_DRIVER = """
const sum = (id) => {
  const canvas = document.querySelector("#" + id + " canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.reduce((total, value, i) => (total * 31 + value * (i % 7 + 1)) % 1000003, 0);
};
const set = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("input"));
};
const timer = setInterval(() => {
  if (document.body.dataset.ready !== "yes") return;
  clearInterval(timer);
  const seen = { start: sum("left"), baseline: sum("right") };
  set("slice", 0); seen.slice = sum("left");
  seen.sliceText = document.getElementById("slice-shown").textContent;
  set("level", 10); seen.level = sum("left");
  set("window", 20); seen.window = sum("left");
  document.getElementById("reset").click(); seen.reset = sum("left");
  set("slice", 1); seen.again = sum("left");
  document.querySelector("[data-layer=reference]").click(); seen.reference = sum("right");
  document.querySelector("[data-layer=error]").click(); seen.error = sum("right");
  document.querySelector("[data-layer=undetermined]").click(); seen.undetermined = sum("right");
  const canvas = document.querySelector("#right canvas");
  const pixel = (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
  seen.corner = pixel(0, 0); seen.middle = pixel(16, 20);
  document.querySelector("[data-layer=width]").click(); seen.width = sum("right");
  document.querySelector("[data-mode=flicker]").click();
  seen.hidden = document.getElementById("right").hidden;
  document.querySelector("[data-mode=side]").click();
  seen.shown = !document.getElementById("right").hidden;
  document.title = JSON.stringify(seen);
}, 20);
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")
def test_the_viewer_works_in_a_browser(tmp_path: Path) -> None:
    share = np.full((3, 40, 32), 0.4, np.float32)
    share[:, 15:30] = 0.1  # the middle
    made = reconstruction(posterior=posterior(0.8, null_space_share=share))
    path = write_report(made, tmp_path / "r.html")
    document, console = browse(path, tmp_path / "profile1")
    assert 'data-ready="yes"' in document
    assert console == ""
    driven = tmp_path / "driven.html"
    text = path.read_text(encoding="utf-8")
    unguarded = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    driven.write_text(unguarded.replace("</body>", f"<script>{_DRIVER}</script></body>"))
    document, console = browse(driven, tmp_path / "profile2")
    # The driver's own reading of the canvas earns it a piece of advice.
    assert all("willReadFrequently" in line for line in console.splitlines())
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", document).group(1)))
    assert seen["sliceText"] == "1"
    assert len({seen[k] for k in ("start", "slice", "level", "window")}) == 4
    assert seen["reset"] == seen["slice"]
    assert seen["again"] == seen["start"]
    layers = ("baseline", "reference", "error", "undetermined", "width")
    assert len({seen[k] for k in layers}) == 5
    assert seen["corner"] == [24, 24, 24]  # not the object
    np.testing.assert_allclose(seen["middle"], ramp()[round(255 * 0.1 / 0.4)], atol=3)
    assert seen["hidden"] is True
    assert seen["shown"] is True


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")
def test_a_script_that_is_not_ours_does_not_run(tmp_path: Path) -> None:
    text = render(reconstruction())
    foreign = "<script>document.title = 'foreign ran'</script></body>"
    path = tmp_path / "r.html"
    path.write_text(text.replace("</body>", foreign))
    document, console = browse(path, tmp_path / "profile")
    assert "<title>foreign ran" not in document
    assert "Content Security Policy" in console
