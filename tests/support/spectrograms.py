"""Spectrograms of two species that sing alike at different pitches: images that are no photographs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128  # pixels; 8 kHz high, a second long
_RATE = 16_000  # samples per second
_WINDOW = 256  # samples
_PITCHES = {"low": (2_500.0, 3_500.0), "high": (4_000.0, 5_000.0)}
"""Hz, of the middle of a call."""


def write_spectrograms(target: Path, *, images: int, seed: int = 0) -> Path:
    """Write a zip of grey PNG images, each with one call, half of each species, without splits."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(images):
            species = tuple(_PITCHES)[number % 2]
            png = io.BytesIO()
            Image.fromarray(spectrogram(_recording(species, rng))).save(png, "PNG")
            archive.writestr(f"{species}/{number:05d}.png", png.getvalue())
    return target


def spectrogram(wave: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(SIDE, SIDE) of a second: the levels of 50 dB, the highest pitch on top."""
    starts = np.linspace(0, len(wave) - _WINDOW, SIDE).astype(int)
    frames = np.stack([wave[start : start + _WINDOW] for start in starts]) * np.hanning(_WINDOW)
    level = 20 * np.log10(np.abs(np.fft.rfft(frames))[:, :SIDE].T[::-1] + 1e-6)  # dB
    grey: NDArray[np.uint8] = np.clip(level / 50 * 255, 0, 255).astype(np.uint8)
    return grey


def _recording(species: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """A second of noise, up to two steady tones of nobody, and a faint call that trills around its pitch."""
    time = np.arange(_RATE) / _RATE
    wave = rng.normal(size=_RATE)
    for _ in range(rng.integers(3)):
        near = np.abs(time - rng.uniform(0, 1)) < rng.uniform(0.05, 0.3)
        wave += 0.3 * np.sin(2 * np.pi * rng.uniform(1_000, 7_000) * time) * near
    trill, swing = rng.uniform(5, 12), rng.uniform(250, 500)  # Hz
    phase = 2 * np.pi * rng.uniform(*_PITCHES[species]) * time
    phase += swing / trill * np.sin(2 * np.pi * trill * time + rng.uniform(0, 2 * np.pi))
    length = rng.uniform(0.3, 0.5)
    through = np.clip((time - rng.uniform(0, 1 - length)) / length, 0, 1)
    call: NDArray[np.float64] = (
        rng.uniform(0.3, 0.8) * np.sqrt(np.sin(np.pi * through).clip(0)) * np.sin(phase)
    )
    return wave + call
