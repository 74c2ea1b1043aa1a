"""Formulas: what is refused, values, and gradients against finite differences and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uavssr.errors import UsageError
from uavssr.indices import BROAD_BANDS, Formula, SpectralIndex, find_index, load_indices

INDICES = list(load_indices().values())
every_index = pytest.mark.parametrize("index", INDICES, ids=lambda index: index.name)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("__import__('os').system('true')", "is not allowed"),
        ("N.real", "N.real is not allowed"),
        ("[N for N in R]", "is not allowed"),
        ("lambda: N", "is not allowed"),
        ("N if R else G", "is not allowed"),
        ("N < R", "is not allowed"),
        ("~N", "is not allowed"),
        ("True * N", "True is not allowed"),
        ("1j * N", "1j is not allowed"),
        ("sqrt(N, R)", "is not allowed"),
        ("open(N)", "open(N) is not allowed"),
        ("sqrt(2) * N", "sqrt(2) of a number"),
        ("N ** R", "the exponent R is no number"),
        ("2 ** N", "the exponent N is no number"),
        ("N / 0", "a division by zero"),
        ("1 / (2 - 2) * N", "a division by zero"),
        ("9 ** 9 ** 9 * N", "has no value"),
        ("(-8) ** 0.5 * N", "has no value"),
        ("1e400 * N", "a number is too large"),
        ("99999 * 99999 * N", "a number is too large"),
        ("NIR / R", "NIR is neither a wavelength in nm, as R800, nor one of the bands"),
        ("R80", "R80 is neither"),
        ("R800 +", "is no formula"),
        ("", "is no formula"),
        ("N\0", "is no formula"),
        ("((((" * 60 + "N", "is no formula"),
        ("3 + 4", "has no reflectance in it"),
        ("N+" * 300 + "N", "has 601 characters"),
    ],
)
def test_text_that_is_no_formula_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        Formula(text)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith("write it like (R800 - R670) / (R800 + R670)")


def test_the_remedy_is_a_formula() -> None:
    assert Formula("(R800 - R670) / (R800 + R670)").terms == ("R800", "R670")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("N - R - G", 0.5 - 0.3 - 0.1),
        ("N / R / G", 0.5 / 0.3 / 0.1),
        ("-N**2", -0.25),
        ("2**-1 * N + R - G - +R", 0.25 - 0.1),
        ("N**(1/2) + sqrt(R) - G", 0.5**0.5 + 0.3**0.5 - 0.1),
        ("log(N) + exp(R) + tanh(G)", np.log(0.5) + np.exp(0.3) + np.tanh(0.1)),
        ("abs(R - N) * G", 0.02),
    ],
)
def test_a_formula_has_the_value_that_python_gives_it(text: str, expected: float) -> None:
    reflectance = {"N": 0.5, "R": 0.3, "G": 0.1}
    formula = Formula(text)
    value = formula.value(np.array([reflectance[term] for term in formula.terms]))
    assert value == pytest.approx(expected, abs=1e-12)


@every_index
def test_gradient_is_that_of_finite_differences(
    index: SpectralIndex, rng: np.random.Generator
) -> None:
    formula, step = index.formula, 1e-6
    x = rng.uniform(0.1, 0.5, (len(formula.terms), 20))
    for term, slope in enumerate(formula.value_and_gradient(x)[1]):
        change = np.zeros_like(x)
        change[term] = step
        difference = (formula.value(x + change) - formula.value(x - change)) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-5)


@every_index
def test_tensors_give_what_arrays_and_autograd_give(
    index: SpectralIndex, rng: np.random.Generator
) -> None:
    x = rng.uniform(0.1, 0.5, (len(index.formula.terms), 20))
    value, gradient = index.formula.value_and_gradient(x)
    tensor = torch.from_numpy(x).requires_grad_()
    of_tensor, slopes = index.formula.value_and_gradient(tensor)
    np.testing.assert_allclose(of_tensor.detach(), value, rtol=1e-12)
    np.testing.assert_allclose(slopes.detach(), gradient, rtol=1e-9, atol=1e-12)
    torch.nansum(of_tensor).backward()  # type: ignore[no-untyped-call]
    defined = np.isfinite(value)
    assert tensor.grad is not None
    np.testing.assert_allclose(tensor.grad[:, defined], gradient[:, defined], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "text", ["N / (N - R)", "1 / N - 1 / (N - R)", "log(N - R)", "(N - R)**-2"]
)
def test_undefined_values_are_nan(text: str) -> None:
    x = np.array([[0.3, 0.3], [0.3, 0.1]], np.float32)
    for values in (x, torch.from_numpy(x)):
        value, gradient = Formula(text).value_and_gradient(values)
        assert np.isnan(np.asarray(value)).tolist() == [True, False]
        assert np.isnan(np.asarray(gradient)).tolist() == [[True, False]] * 2
        assert np.asarray(value).dtype == np.float32


def test_the_number_of_reflectances_is_checked() -> None:
    with pytest.raises(UsageError, match="has 2 reflectances, got 3"):
        Formula("N / R").value(np.ones((3, 4)))


def test_names_are_unique_and_found_in_any_case() -> None:
    assert len({index.name.casefold() for index in INDICES}) == len(INDICES)
    assert find_index("tcari/osavi").name == "TCARI_OSAVI"
    with pytest.raises(UsageError, match=r"no index 'NDVJ' \(similar: NDVI"):
        find_index("NDVJ")


@every_index
def test_an_index_is_of_bands_or_of_wavelengths(index: SpectralIndex) -> None:
    broad = {term in BROAD_BANDS for term in index.formula.terms}
    assert broad == {index.kind == "broad"}
    assert index.title[0].isupper() or index.title.startswith("MCARI")
    assert index.source.split()[-1].isdigit()


SPECTRUM = {445: 0.03, 531: 0.06, 550: 0.1, 570: 0.08, 670: 0.04, 700: 0.12, 705: 0.16}
SPECTRUM |= {740: 0.38, 750: 0.44, 780: 0.48, 800: 0.5, 900: 0.52, 970: 0.47}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PRI", -0.02 / 0.14),
        ("WBI", 0.52 / 0.47),
        ("REIP", 700 + 40 * (0.26 - 0.12) / 0.26),
        ("MCARI", (0.08 - 0.2 * 0.02) * 3),
        ("TCARI", 3 * (0.08 - 0.2 * 0.02 * 3)),
        ("TCARI_OSAVI", 3 * (0.08 - 0.2 * 0.02 * 3) / (1.16 * 0.46 / 0.70)),
        ("ARI1", 1 / 0.1 - 1 / 0.12),
        ("mND705", 0.28 / 0.54),
        ("mSR705", 0.41 / 0.13),
    ],
)
def test_published_formulas_by_hand(name: str, expected: float) -> None:
    formula = find_index(name).formula
    values = np.array([SPECTRUM[int(term[1:])] for term in formula.terms])
    assert formula.value(values) == pytest.approx(expected)
