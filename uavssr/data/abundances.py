"""Random abundance maps of a scene's materials, from Gaussian random fields."""

from __future__ import annotations

import numpy as np

from uavssr.sensors import Float32Array


def abundances(
    rng: np.random.Generator,
    count: int,
    height: int,
    width: int,
    *,
    bias: Float32Array | None = None,
) -> Float32Array:
    """Draw abundance maps (count, height, width): not negative, summing to one at every pixel.

    They are the softmax of Gaussian random fields times a random sharpness, which ranges from heavy
    mixing (below 1) to pure patches (above 10).

    Args:
        rng: random generator.
        count: number of materials.
        height: rows.
        width: columns.
        bias: (count, height, width) added to the fields, in their standard deviations, to lay
            materials out.
    """
    logits = random_fields(rng, count, height, width)
    logits += rng.normal(0, 0.5, (count, 1, 1)).astype(np.float32)
    if bias is not None:
        logits += bias
    logits *= np.float32(np.exp(rng.uniform(np.log(0.6), np.log(25))))
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
    return logits


def random_fields(rng: np.random.Generator, count: int, height: int, width: int) -> Float32Array:
    """Draw Gaussian random fields (count, height, width) of mean 0 and standard deviation 1.

    Their power falls as frequency ** -b, with b drawn from 1.2 (fine) to 4.5 (smooth). The real and
    the imaginary part of one inverse FFT are two independent fields, which share their b.
    """
    pairs = -(-count // 2)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency = np.hypot(fy, fx).astype(np.float32)
    frequency[0, 0] = 1
    log_amplitude = np.log(frequency) * -0.5
    log_amplitude[0, 0] = -np.inf
    fall = rng.uniform(1.2, 4.5, (pairs, 1, 1)).astype(np.float32)
    noise = rng.standard_normal((pairs, height, width, 2), np.float32).view(np.complex64)[..., 0]
    noise *= np.exp(fall * log_amplitude)
    field = np.fft.ifft2(noise)
    both = np.concatenate([field.real, field.imag])[:count]
    both /= np.maximum(both.std((1, 2), keepdims=True), 1e-12)
    return np.ascontiguousarray(both)
