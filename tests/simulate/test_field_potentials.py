from importlib.resources import as_file, files

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.io.tables import read_table
from npi_bids.simulate import field_potentials as field
from npi_bids.simulate.field_potentials import (
    RADII,
    dipole_kernels,
    dipole_moment,
    scalp_potential,
    simulate_eeg,
)

ANGLES = np.array([0, 0.3, 1.0, 1.57, 2.5, 3.1])
# By FourSphereVolumeConductor of LFPykit 0.6.2, at these angles, for two depths (um).
LFPYKIT = {
    1_500.0: [5.84009702329917e-10, 2.2989384040859516e-10, 3.0320512952676914e-12,
              -2.585694993203249e-11, -3.532703147467137e-11, -3.624913813109036e-11],
    30_000.0: [1.8593520148725562e-10, 1.5134123819877643e-10, 2.4180550400868044e-11,
               -2.063464189659301e-11, -4.3116843132631964e-11, -4.595677818777731e-11],
}  # fmt: skip


@pytest.mark.parametrize("depth", LFPYKIT)
def test_scalp_potential_is_that_of_lfpykit(depth):
    assert scalp_potential(ANGLES, depth) == pytest.approx(LFPYKIT[depth], rel=1e-6)


def test_four_equal_spheres_are_one_with_its_closed_form(monkeypatch):
    monkeypatch.setattr(field, "CONDUCTIVITIES", (0.3,) * 4)
    radius, scalp = RADII[0] - 20_000.0, RADII[-1]
    ratio = radius / scalp
    # Generating function of (2 n + 1) h^n P_n.
    distance = 1 - 2 * ratio * np.cos(ANGLES) + ratio**2
    series = (1 - ratio**2) / distance**1.5 - 1
    expected = series / (ratio * 4 * np.pi * 0.3 * scalp**2)
    assert scalp_potential(ANGLES, 20_000.0) == pytest.approx(expected, rel=1e-10)


def test_a_dipole_outside_the_brain_is_refused():
    with pytest.raises(SettingsError, match="below the radius of the brain"):
        scalp_potential(ANGLES, 0.0)


@pytest.mark.parametrize(
    ("pair", "peak", "lag"),
    [("E_to_E", 251, 4.75), ("I_to_E", 8161, 3.19), ("E_to_I", 27, 2.75), ("I_to_I", 125, 2.4)],
)
def test_shipped_kernels_have_the_peaks_that_lfpykernels_gave(pair, peak, lag):
    with as_file(files("npi_bids.data") / "dipole_kernels.tsv") as path:
        table = read_table(path)
    found = np.abs(table[pair]).argmax()
    assert -table[pair][found] == pytest.approx(peak, abs=0.6)
    assert table["lag"][found] == pytest.approx(lag, abs=0.1)


def test_kernels_of_a_source_are_summed_over_its_targets():
    with as_file(files("npi_bids.data") / "dipole_kernels.tsv") as path:
        table = read_table(path)
    excitatory, inhibitory = dipole_kernels()
    assert excitatory == pytest.approx((table["E_to_E"] + table["E_to_I"]).to_numpy())
    assert inhibitory == pytest.approx((table["I_to_E"] + table["I_to_I"]).to_numpy())


def test_one_spike_gives_the_kernel_of_its_population_and_nothing_before():
    counts = np.zeros((2, 3000), np.int32)
    counts[1, 1000] = 3
    moment = dipole_moment(counts, 0.25)
    kernel = dipole_kernels()[1]
    assert np.abs(moment[:1000]).max() < 1e-9 * np.abs(kernel).max()
    assert moment[1000 : 1000 + len(kernel)] == pytest.approx(12 * kernel, abs=1e-6)


def test_eeg_is_the_slow_part_of_the_dipole_moment_times_the_potential_of_a_dipole():
    times = np.arange(16_000) / 16
    counts = np.stack([np.zeros(16_000), np.round(50 + 40 * np.sin(2 * np.pi * times / 100))])
    counts = counts.astype(np.int32)
    eeg = simulate_eeg(counts, 1.0, 400.0)
    moment = dipole_moment(counts, 1.0)[6400::10]
    expected = 1000 * LFPYKIT[1500.0][0] * moment
    assert len(eeg) == 960
    inner = slice(50, -50)
    assert eeg[inner] == pytest.approx(expected[inner], abs=0.02 * np.ptp(expected))
