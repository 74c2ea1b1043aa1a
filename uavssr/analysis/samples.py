"""Cubes drawn from the posterior, for those who carry errors through a model of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.analysis.pass_estimate import PassEstimate, estimate_pass
from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.analysis.zone_statistics import SHARED_IN_ZONE
from uavssr.errors import InputRefused, UsageError
from uavssr.io.writers import (
    SUFFIXES,
    CubeTarget,
    check_free_space,
    check_output,
    cube_bytes,
    open_writer,
    output_locked,
)
from uavssr.model import PosteriorErrors, SharedDraws
from uavssr.reconstruction import BLOCK, OutputOptions, write_styles
from uavssr.sensors import Float32Array
from uavssr.tiling import Progress, Window

MAX_SAMPLES: Final = 1000
"""Most cubes of one call."""
DRAWN_BLOCK: Final = 16
"""Side in pixels of the blocks that have a random stream each; tiles are made of whole ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """Names and storage of N samples.

    Raises:
        UsageError: no possible number of samples or seed, or the format holds no samples.
    """

    folder: Path
    """The folder of the cubes `sample_001` ...; it is made if it is missing."""
    count: int
    """N."""
    seed: int = 0
    """Random seed."""
    storage: OutputOptions
    """Format, number type, wavelengths and so on; the name of the cube does not count."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_SAMPLES:
            raise UsageError(f"--count must be 1-{MAX_SAMPLES}, got {self.count}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must be 0 or more, got {self.seed}")
        if self.storage.cube_format == "coefficients":
            fact = "a sample has errors that no coefficients hold"
            raise UsageError(fact, remedy="use another --format")

    @classmethod
    def of(
        cls, folder: Path, *, count: int, seed: int = 0, storage: OutputOptions | None = None
    ) -> SampleOptions:
        """The options; `storage` is by default that of a GeoTIFF cube."""
        storage = storage or OutputOptions(cube=folder / "sample.tif")
        return cls(folder=folder, count=count, seed=seed, storage=storage)

    @property
    def outputs(self) -> list[OutputOptions]:
        """The storage of each sample, with its name."""
        suffix, digits = SUFFIXES[self.storage.cube_format][0], max(3, len(str(self.count)))
        names = (f"sample_{number:0{digits}d}{suffix}" for number in range(1, self.count + 1))
        return [replace(self.storage, cube=self.folder / name) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PosteriorSampler:
    """Draws spectra of a source; the same seed gives the same, whatever the tiles."""

    errors: SpectralErrors
    """What the errors follow from."""
    posterior: PosteriorErrors
    """Their distribution."""
    bands: Sequence[int]
    """Indices of the m bands."""
    seed: int
    """Random seed."""

    @classmethod
    def of(
        cls, source: SpectralSource, bands: Sequence[int] | None = None, *, seed: int = 0
    ) -> PosteriorSampler:
        """The sampler of some bands, by default all.

        Raises:
            InputRefused: the errors of the spectra are not known.
        """
        errors = source.errors
        if errors is None:
            raise InputRefused(
                "its standard errors are not known, so no samples can be drawn",
                path=source.path,
                remedy="give the image, or the STF file of the run that made it with --stf",
            )
        chosen = list(range(len(source.grid)) if bands is None else bands)
        posterior = PosteriorErrors.of(
            errors.network, errors.stf, errors.correction, chosen, shared=SHARED_IN_ZONE
        )
        return cls(errors=errors, posterior=posterior, bands=chosen, seed=seed)

    def shared(self, sample: int) -> SharedDraws:
        """What all pixels of a sample share; samples are counted from 0."""
        generator = self._generator(sample, (0, 1, 0, 0))

        def normal(count: int) -> Tensor:
            return torch.from_numpy(generator.standard_normal(count, np.float32))

        return self.posterior.shared_draws(normal)

    def draws(self, tile: SpectralTile, shared: Sequence[SharedDraws]) -> Iterator[Float32Array]:
        """The cube (m, h, w) of a tile in each sample, NaN where invalid."""
        pixels = self.posterior.at(self.errors.image(tile.coefficients)[0], tile.coefficients)
        spectra = tile.bands(self.bands)
        for sample, of_scene in enumerate(shared):
            cube = np.full((len(self.bands), *tile.valid.shape), np.nan, np.float32)
            start = 0
            for top in range(0, tile.window.height, DRAWN_BLOCK):
                rows = slice(top, min(top + DRAWN_BLOCK, tile.window.height))
                valid = tile.valid[rows]
                some = slice(start, start + int(np.count_nonzero(valid)))
                start = some.stop
                if some.start < some.stop:
                    normal = self._normal(sample, tile.window, rows)[:, valid]
                    own = self.posterior.own_draws(torch.from_numpy(normal))
                    part = type(pixels)(*(numbers[..., some] for numbers in pixels))
                    error = self.posterior.draw(part, own, of_scene)
                    cube[:, rows][:, valid] = (spectra[:, some] + error).numpy()
            yield cube

    def _normal(self, sample: int, window: Window, rows: slice) -> Float32Array:
        """Numbers (normals, rows, columns) of a strip of whole blocks of a window."""
        side, count = DRAWN_BLOCK, self.posterior.normals
        row, first = (window.row + rows.start) // side, window.col // side
        blocks = [
            self._generator(sample, (0, 0, row, first + number)).standard_normal(
                (count, side, side), np.float32
            )
            for number in range(-(-window.width // side))
        ]
        return np.concatenate(blocks, 2)[:, : rows.stop - rows.start, : window.width]

    def _generator(self, sample: int, counter: tuple[int, ...]) -> np.random.Generator:
        key = np.array([self.seed, sample], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=list(counter)))


def write_samples(
    source: SpectralSource, options: SampleOptions, *, progress: Progress | None = None
) -> list[Path]:
    """Write N cubes drawn from the posterior; each appears under its name when it is complete.

    The spectra are computed or read once for all samples.

    Raises:
        InputRefused: the errors of the spectra are not known, or a file is broken.
        OutputError: a cube exists, another run writes it, or the disk is too small.
        UsageError: the wavelengths do not fit.
    """
    bands = options.storage.wavelength_indices(source.grid)
    sampler = PosteriorSampler.of(source, bands, seed=options.seed)
    options.folder.mkdir(exist_ok=True)
    outputs = options.outputs
    styles = [style for output in outputs for style in output.style_files]
    for path in styles:
        check_output(path, overwrite=options.storage.overwrite, inputs=source.inputs)
    writers = [
        open_writer(_target(source, options, number, output))
        for number, output in enumerate(outputs, start=1)
    ]
    check_free_space(writers[0].path, sum(writer.needed_bytes for writer in writers))
    shared = [sampler.shared(sample) for sample in range(options.count)]

    def write(tile: SpectralTile) -> None:
        for writer, cube in zip(writers, sampler.draws(tile, shared), strict=True):
            writer.write(tile.window, np.nan_to_num(cube), tile.valid)

    with ExitStack() as stack:
        for path in (*(writer.path for writer in writers), *styles):
            stack.enter_context(output_locked(path))
        for writer in writers:
            stack.enter_context(writer)
        for _ in source.map(write, progress=progress, task="drawing samples"):
            pass
        for writer, output in zip(writers, outputs, strict=True):
            writer.finish()
            write_styles(output, overwrite=output.overwrite, inputs=source.inputs)
    return [writer.path for writer in writers]


def estimate_samples(source: SpectralSource, options: SampleOptions) -> PassEstimate:
    """What `write_samples` takes; a trial writes all samples of some tiles."""
    storage, count = options.storage, options.count
    bands = len(storage.wavelength_indices(source.grid) or source.grid)
    size = cube_bytes(source.height, source.width, bands, dtype=storage.dtype)
    folder = options.folder if options.folder.is_dir() else options.folder.parent

    def run(strip: SpectralSource, place: Path) -> object:
        return write_samples(strip, replace(options, folder=place))

    return estimate_pass(
        source,
        run,
        pixel_bytes=8 * bands,
        output_bytes=count * size,
        folder=folder,
    )


def _target(
    source: SpectralSource, options: SampleOptions, number: int, output: OutputOptions
) -> CubeTarget:
    tags = {key: value for key, value in source.tags.items() if key != "uavssr_run"}
    return CubeTarget(
        path=Path(output.cube),
        format=output.cube_format,
        height=source.height,
        width=source.width,
        grid=source.grid,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
        dtype=output.dtype,
        block=min(source.tiles.tile, BLOCK),
        overwrite=output.overwrite,
        creation_options=output.creation_options or {},
        tags=tags
        | {"uavssr_sample": f"{number} of {options.count}", "uavssr_seed": str(options.seed)},
        inputs=source.inputs,
        wavelengths=output.wavelength_indices(source.grid),
    )
