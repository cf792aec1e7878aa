"""From spikes to EEG: the current dipole moment of a network and its potential on the scalp."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from scipy.signal import decimate, fftconvolve
from scipy.special import eval_legendre

from npi_bids.errors import SettingsError
from npi_bids.io.tables import read_table
from npi_bids.records import Array
from npi_bids.simulate.spiking import STEP

# Radii (um) and conductivities (S/m) of brain, cerebrospinal fluid, skull and scalp, as in Hagen
# et al. (2022), and the depth of the dipole below the surface of the brain (um).
RADII = (79_000.0, 80_000.0, 85_000.0, 90_000.0)
CONDUCTIVITIES = (0.276, 1.65, 0.01, 0.465)
DEPTH = 1_500.0
_N_TERMS = 400  # of the series, whose terms fall as (77.5 / 90)^n
_DECIMATION = 10
SAMPLING_RATE = 1000 / STEP / _DECIMATION  # Hz, of EEG


@lru_cache(maxsize=1)
def dipole_kernels() -> Array:
    """Return the current dipole moment after one spike of each population.

    Returns
    -------
    Array
        Shape (2, n_lags), excitatory and inhibitory spikes; vertical component, summed over the
        neurons of both populations (nA um), in steps of 1/16 ms from lag 0. For a network of the
        published size.
    """
    with as_file(files("npi_bids.data") / "dipole_kernels.tsv") as path:
        table = read_table(path)
    kernels: Array = np.stack(
        [
            table[f"{source}_to_E"].to_numpy() + table[f"{source}_to_I"].to_numpy()
            for source in "EI"
        ]
    )
    kernels.setflags(write=False)
    return kernels


def dipole_moment(counts: NDArray[np.int32], scale: float) -> Array:
    """Convolve spikes with the kernels of the current dipole moment.

    Parameters
    ----------
    counts
        Shape (2, n_steps); spikes of each population in steps of 1/16 ms.
    scale
        Share of the neurons of the published network, whose kernels are those of all neurons: the
        moment is that of the published network at the same rates.

    Returns
    -------
    Array
        Shape (n_steps,); vertical component (nA um). The first 100 ms lack earlier spikes.
    """
    parts = [
        fftconvolve(spikes / scale, kernel)[: counts.shape[1]]
        for spikes, kernel in zip(counts, dipole_kernels(), strict=True)
    ]
    moment: Array = np.sum(parts, axis=0)
    return moment


def scalp_potential(angle: Array, depth: float = DEPTH) -> Array:
    """Return the potential of a radial dipole on the scalp of a head of four spheres.

    The potential is the series of Legendre polynomials that fulfils the boundary conditions
    between the spheres (Naess et al. 2017, doi:10.3389/fnhum.2017.00490).

    Parameters
    ----------
    angle
        Angle at the centre of the head between the dipole and each electrode (radians).
    depth
        Depth of the dipole below the surface of the brain (um).

    Returns
    -------
    Array
        Potential (mV) by a dipole of 1 nA um that points outwards, of the shape of ``angle``.

    Raises
    ------
    SettingsError
        The dipole is not within the brain.
    """
    radius = RADII[0] - depth
    if not 0 < radius < RADII[0]:
        raise SettingsError(
            f"The depth of the dipole must be above 0 and below the radius of the brain, "
            f"{RADII[0]:g} um, not {depth:g} um."
        )
    n = np.arange(1, _N_TERMS + 1)
    # Unbounded medium: p n r_d^(n-1) / (4 pi sigma r^(n+1)), here at the scalp.
    scalp = RADII[-1]
    unbounded = n * (radius / scalp) ** (n - 1) / (4 * np.pi * CONDUCTIVITIES[0] * scalp**2)
    terms = (unbounded * _transfer(n))[:, None] * eval_legendre(
        n[:, None], np.cos(np.ravel(angle))[None, :]
    )
    potential: Array = terms.sum(axis=0).reshape(np.shape(angle))
    return potential


def _transfer(n: NDArray[np.int64]) -> Array:
    """Return each term of the potential on the scalp, relative to that in an unbounded medium.

    In each sphere a term is b (r^-(n+1) + g r^n / R^(2n+1)), R its outer radius. The outermost g
    follows from the insulating air; going inwards, potential and radial current are continuous.
    """
    growth = (n + 1) / n
    factor = 1 + growth
    for k in range(len(RADII) - 2, -1, -1):
        inner = (RADII[k] / RADII[k + 1]) ** (2 * n + 1)
        # Of the outer sphere at the interface, each over b R_k^-(n+1): potential and current.
        potential = 1 + growth * inner
        current = CONDUCTIVITIES[k + 1] / CONDUCTIVITIES[k] * (n * growth * inner - (n + 1))
        # Inner sphere: b' (1 + g') = b potential and b' (n g' - (n + 1)) = b current.
        share = (n * potential - current) / (2 * n + 1)
        factor = factor / share
        growth = potential / share - 1
    return factor


def simulate_eeg(
    counts: NDArray[np.int32], scale: float, transient: float, angle: float = 0.0
) -> Array:
    """Return the EEG that spikes of a network cause at one electrode.

    Parameters
    ----------
    counts, scale
        See :func:`dipole_moment`.
    transient
        Time to leave out at the beginning (ms).
    angle
        Angle between the network and the electrode at the centre of the head (radians); 0 is
        above it.

    Returns
    -------
    Array
        Shape (n_samples,); EEG (uV) at 1600 Hz.
    """
    moment = dipole_moment(counts, scale)[round(transient / STEP) :]
    millivolts = float(scalp_potential(np.array([angle]))[0]) * moment
    eeg: Array = decimate(1000 * millivolts, _DECIMATION, zero_phase=True)
    return eeg
