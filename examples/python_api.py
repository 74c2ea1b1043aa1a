"""From an image to indices and plots in Python; run it in the root of the repository.

`mypy --strict` checks it as the code of a user.
"""

from __future__ import annotations

import uavssr


def main() -> None:
    """Print bands, a spectrum with its error, and the range of an index of the example."""
    image = uavssr.open_msi("examples/field.tif")
    print(image.sensor.name, image.sensor.roles)

    cube = uavssr.reconstruct(image, uncertainty=True)  # lazy: one dask chunk per tile
    red = cube.uavssr.sel_wavelength(660).isel(y=60, x=50).compute()
    print(f"{float(red.reflectance):.4f} +- {float(red.reflectance_se):.4f}")

    stf = uavssr.estimate_stf(image, uavssr.ReconstructionOptions(tile_stf="off"))
    print(stf.scene_centre.round(1).to_series().to_dict())

    maps = uavssr.index(image, ["NDVI", "REIP"])
    print(f"NDVI {float(maps.NDVI.min()):.2f} to {float(maps.NDVI.max()):.2f}")


if __name__ == "__main__":
    main()
