"""Names of the array types in the signatures of the whole package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]
NumberArray = npt.NDArray[np.generic]
"""Numbers as a file stores them, of any type."""
