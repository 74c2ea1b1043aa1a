"""The benchmark: protocols, methods side by side, tables and pictures of the results."""

from uavssr.benchmark.case import Case, HeldOutImage

__all__ = ["Case", "HeldOutImage"]
