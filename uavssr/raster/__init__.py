"""Rasters and STF files: the only package that touches GDAL. No torch here."""
