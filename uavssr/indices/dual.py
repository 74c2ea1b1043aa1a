"""Forward-mode differentiation: a value of numpy or torch with its derivatives by the terms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Dual:
    """An array (...) and its derivatives (...) by the terms on which it depends."""

    module: ModuleType
    """numpy or torch."""
    value: Any
    """An array of `module`, or a float."""
    slopes: dict[str, Any]
    """Derivatives by term, arrays or floats; empty for a number."""

    def chain(self, value: Any, slope: Any) -> Dual:
        """f(x), given its value and f'(x)."""
        return Dual(self.module, value, {term: slope * own for term, own in self.slopes.items()})

    def __neg__(self) -> Dual:
        return self.chain(-self.value, -1.0)

    def __add__(self, other: Dual) -> Dual:
        slopes = dict(self.slopes)
        for term, slope in other.slopes.items():
            slopes[term] = slopes[term] + slope if term in slopes else slope
        return Dual(self.module, self.value + other.value, slopes)

    def __sub__(self, other: Dual) -> Dual:
        return self + -other

    def __mul__(self, other: Dual) -> Dual:
        # (x y)' = x' y + x y'
        slopes = self.chain(0.0, other.value) + other.chain(0.0, self.value)
        return Dual(self.module, self.value * other.value, slopes.slopes)

    def __truediv__(self, other: Dual) -> Dual:
        # (1 / y)' = -1 / y^2, NaN at y = 0
        if not other.slopes:
            return self.chain(self.value / other.value, 1 / other.value)
        inverse = 1.0 / self.module.where(other.value == 0, math.nan, other.value)
        return self * other.chain(inverse, -inverse * inverse)

    def power(self, exponent: float) -> Dual:
        """x^p, NaN where it is not finite."""
        return self.chain(self.value**exponent, exponent * self.value ** (exponent - 1))

    def call(self, name: str) -> Dual:
        """abs, exp, log, sqrt or tanh."""
        x = self.value
        y = getattr(self.module, name)(x)
        slope = {
            "abs": lambda: self.module.sign(x),
            "exp": lambda: y,
            "log": lambda: 1.0 / x,
            "sqrt": lambda: 0.5 / y,
            "tanh": lambda: 1.0 - y * y,
        }
        return self.chain(y, slope[name]())
