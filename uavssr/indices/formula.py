"""Formulas of spectral indices: parsed without running code, evaluated with their gradient.

A formula holds numbers, + - * / **, parentheses, the functions of `FUNCTIONS`, and reflectances: of
a wavelength in nm, R800, or of one of the broad bands of `BROAD_BANDS`, N.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from uavssr.errors import UsageError
from uavssr.indices.dual import Dual

if TYPE_CHECKING:
    from torch import Tensor

BROAD_BANDS: Final = {
    "A": (400.0, 455.0),
    "B": (450.0, 530.0),
    "G": (510.0, 600.0),
    "Y": (585.0, 625.0),
    "R": (620.0, 690.0),
    "RE1": (695.0, 715.0),
    "RE2": (730.0, 750.0),
    "RE3": (765.0, 795.0),
    "N": (760.0, 900.0),
    "N2": (850.0, 880.0),
}
"""First and last wavelength in nm of each broad band, of the Awesome Spectral Indices list."""
FUNCTIONS: Final = ("abs", "exp", "log", "sqrt", "tanh")
"""Functions of one reflectance that a formula may call."""
MAX_FORMULA_LENGTH: Final = 500
"""Most characters of a formula."""
_LARGEST: Final = 1e9
"""Largest number in a formula."""
_WAVELENGTH: Final = re.compile(r"R(\d{3,4})")
_REMEDY: Final = "write it like (R800 - R670) / (R800 + R670)"

Reflectances = TypeVar("Reflectances", npt.NDArray[np.floating[Any]], "Tensor")


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that has been checked.

    Raises:
        UsageError: the text is no formula; the message says why.
    """

    text: str
    """The formula as given."""

    def __post_init__(self) -> None:
        if len(self.text) > MAX_FORMULA_LENGTH:
            fact = f"the formula has {len(self.text)} characters, not {MAX_FORMULA_LENGTH} or fewer"
            raise UsageError(fact, remedy=_REMEDY)
        try:
            body = _parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
            raise UsageError(f"{self.text!r} is no formula", remedy=_REMEDY) from err
        for node in _subformulas(body):
            if problem := _problem(node):
                raise UsageError(f"{self.text!r} is no formula: {problem}", remedy=_REMEDY)
        if not self.terms:
            raise UsageError(f"{self.text!r} has no reflectance in it", remedy=_REMEDY)

    @property
    def terms(self) -> tuple[str, ...]:
        """The T reflectances in it, R800 or N, in the order of their first places."""
        nodes = [node for node in _subformulas(_parse(self.text)) if isinstance(node, ast.Name)]
        nodes.sort(key=lambda node: node.col_offset)
        return tuple(dict.fromkeys(node.id for node in nodes))

    def value(self, values: Reflectances) -> Reflectances:
        """The formula (...) of its terms' reflectances (T, ...); NaN where it is undefined."""
        return self.value_and_gradient(values)[0]

    def value_and_gradient(self, values: Reflectances) -> tuple[Reflectances, Reflectances]:
        """The formula (...), and its derivatives (T, ...) by the terms' reflectances.

        Both are NaN where the formula is undefined, as in a division by zero.

        Args:
            values: (T, ...) reflectances in the order of `terms`, a numpy array or a tensor.
        """
        terms: tuple[str, ...] = self.terms
        if len(values) != len(terms):
            raise UsageError(f"{self.text} has {len(terms)} reflectances, got {len(values)}")
        module = _module_of(values)
        duals = {
            term: Dual(module, value, {term: module.ones_like(value)})
            for term, value in zip(terms, values, strict=True)
        }
        with np.errstate(all="ignore"):
            result: Dual = _evaluate(_parse(self.text), duals)
        stack = module.stack([result.value, *(result.slopes[term] for term in terms)])
        stack = module.where(module.isfinite(result.value), stack, math.nan)
        return stack[0], stack[1:]


def wavelength_of(term: str) -> float | None:
    """The wavelength in nm of a term like R800, None of a broad band's."""
    match = _WAVELENGTH.fullmatch(term)
    return float(match[1]) if match else None


def _module_of(values: npt.NDArray[Any] | Tensor) -> ModuleType:
    if isinstance(values, np.ndarray):
        return np
    import torch

    return torch


@lru_cache(maxsize=256)
def _parse(text: str) -> ast.expr:
    """The formula's tree: parsed once, as `ast` may fail in two threads at a time."""
    return ast.parse(text.strip(), mode="eval").body


def _operands(node: ast.expr) -> Sequence[ast.expr]:
    match node:
        case ast.BinOp(left=left, right=right):
            return left, right
        case ast.UnaryOp(operand=operand):
            return (operand,)
        case ast.Call(args=arguments):
            return arguments
    return ()


def _subformulas(node: ast.expr) -> Iterator[ast.expr]:
    """The formulas within a formula, smaller ones first, and itself."""
    for operand in _operands(node):
        yield from _subformulas(operand)
    yield node


def _is_number(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name) for part in _subformulas(node))


def _problem(node: ast.expr) -> str:
    """The reason why a formula may not hold a node; empty where it may."""
    problem = f"{ast.unparse(node)[:40]} is not allowed"
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            problem = "" if abs(number) < _LARGEST else "a number is too large"
        case ast.Name(id=name):
            problem = "" if name in BROAD_BANDS or wavelength_of(name) else _unknown(name)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            problem = f"{ast.unparse(node)} of a number" if _is_number(argument) else ""
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            problem = ""
        case ast.BinOp(op=ast.Pow(), right=exponent) if not _is_number(exponent):
            problem = f"the exponent {ast.unparse(exponent)} is no number"
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow()):
            problem = _problem_of_numbers(node)
    return problem


def _unknown(name: str) -> str:
    names = ", ".join(BROAD_BANDS)
    return f"{name} is neither a wavelength in nm, as R800, nor one of the bands {names}"


def _problem_of_numbers(node: ast.BinOp) -> str:
    """The reason why an operation on numbers has no value; empty where it has one."""
    divided = isinstance(node.op, ast.Div) and _is_number(node.right)
    try:
        if divided and _number(node.right) == 0:
            return "a division by zero"
        value = _number(node) if _is_number(node) else 0.0
    except (ArithmeticError, ValueError):
        return f"{ast.unparse(node)[:40]} has no value"
    return "" if abs(value) < _LARGEST else "a number is too large"


def _number(node: ast.expr) -> float:
    """The value of a node without reflectances."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=sign, operand=operand):
            return -_number(operand) if isinstance(sign, ast.USub) else _number(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return math.pow(_number(left), _number(right))
        case ast.BinOp(left=left, op=sign, right=right):
            return _calculate(sign, _number(left), _number(right))
    raise ValueError(ast.unparse(node))


def _evaluate(node: ast.expr, duals: dict[str, Dual]) -> Dual:
    """The value of a checked formula, with its derivatives."""
    if _is_number(node):
        return Dual(next(iter(duals.values())).module, _number(node), {})
    match node:
        case ast.Name(id=name):
            return duals[name]
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return _evaluate(argument, duals).call(name)
        case ast.UnaryOp(op=sign, operand=operand):
            value = _evaluate(operand, duals)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _evaluate(left, duals).power(_number(right))
        case ast.BinOp(left=left, op=sign, right=right):
            return _calculate(sign, _evaluate(left, duals), _evaluate(right, duals))
    raise ValueError(ast.unparse(node))


Operand = TypeVar("Operand", float, Dual)


def _calculate(sign: ast.operator, left: Operand, right: Operand) -> Operand:
    match sign:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
    return left / right
