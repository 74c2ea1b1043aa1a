"""Blind spectral super-resolution of drone imagery: multispectral in, hyperspectral cube and STF out."""

from __future__ import annotations

__version__ = "0.1.0"
