"""Reading and writing files: GDAL is touched here alone.

No torch and no printing. Packages inside, each importing only those before it: `checks`, `raster`,
`msi`, `hsi`, `writers`, `stf`. Settings files are read by the module `settings`,
pictures and MATLAB files of benchmarks by `pictures` and `matlab`.
"""
