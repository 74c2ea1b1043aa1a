"""Spectra to build a library from: simulated plants, waters and surfaces, and airborne cubes.

No command of the package needs them; scripts, benchmarks, examples and tests do. They are imported
as `scripts.spectra_sources` with the root of the repository on `sys.path`.
"""
