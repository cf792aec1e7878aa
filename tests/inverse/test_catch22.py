import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.inverse.catch22 import CATCH22, compute_catch22

SHORT, LONG = np.arange(355), np.arange(1000)
SIGNALS = (
    np.sin(SHORT / 7) + 0.5 * np.sin(SHORT**2 / 900) + 0.3 * np.sin(2.3 * SHORT) + 0.002 * SHORT,
    np.exp(np.sin(LONG / 11) + 0.6 * np.cos(LONG * 1.7)) + 0.4 * np.sin(LONG**2 / 50),
)
# By pycatch22 0.4.5, whose features have the published names; later versions changed some.
PYCATCH22 = (
    [0.10980377384586826, 0.34892432196624656, 6.534303169903809, 4.0, 0.42410945740274825,
     0.006661434632244999, 0.940677966101695, 24.0, 0.003170828378913991, 4.0,
     0.41164218082735377, 3.0, 0.08333333333333333, 0.35070422535211265, -0.07887323943661972,
     0.8755679528038611, 5.0, 1.8255469370809898, 0.5333333333333333, 0.3333333333333333,
     0.14726215563703127, 0.5211090809305557],
    [-0.9098292310467224, -0.6826374097561085, 1.595072624786341, 2.0, 0.17627600192729684,
     -0.0009611844688826677, 0.960960960960961, 15.0, 0.0029432132963988925, 3.0,
     0.1976256281785813, 1.0, 0.07692307692307693, 0.0, 0.04200000000000004, 0.6007594008655706,
     5.0, 1.9941946668332724, 0.5833333333333334, 0.4375, 0.09203884727314453,
     0.80362181548448],
)  # fmt: skip


@pytest.mark.parametrize(("signal", "expected"), [*zip(SIGNALS, PYCATCH22, strict=True)])
def test_features_are_those_of_pycatch22(signal, expected):
    values = dict(zip(CATCH22, compute_catch22(signal), strict=True))
    assert values == pytest.approx(dict(zip(CATCH22, expected, strict=True)), rel=1e-9)


def test_features_are_those_of_the_pycatch22_that_is_installed():
    pycatch22 = pytest.importorskip("pycatch22")
    generator = np.random.default_rng(0)
    for n_samples in (100, 1001, 3200):
        signal = np.convolve(generator.standard_normal(n_samples + 9), np.ones(10), "valid")
        found = pycatch22.catch22_all(signal.tolist())
        if found["names"] != list(CATCH22):
            pytest.skip("this version of pycatch22 changed the definitions")
        assert compute_catch22(signal) == pytest.approx(found["values"], rel=1e-9)


def test_signals_at_once_have_the_features_of_each():
    generator = np.random.default_rng(1)
    signals = generator.standard_normal((300, 7)).cumsum(axis=0)
    each = np.array([compute_catch22(signal) for signal in signals.T])
    np.testing.assert_array_equal(compute_catch22(signals), each)


def test_outliers_are_timed_where_they_are():
    """The largest samples lie at one tenth of the signal: -1 is its beginning, 1 its end."""
    generator = np.random.default_rng(0)
    signal = 0.001 * generator.standard_normal(1000)
    signal[80:120] += np.linspace(1, 2, 40)
    values = dict(zip(CATCH22, compute_catch22(signal), strict=True))
    assert values["DN_OutlierInclude_p_001_mdrmd"] == pytest.approx(-0.78, abs=0.05)


def test_features_do_not_depend_on_the_unit():
    assert compute_catch22(1e6 * SIGNALS[0] - 5) == pytest.approx(PYCATCH22[0], rel=1e-6)


def test_a_signal_reversed_in_time_has_the_opposite_asymmetry_in_time():
    forward, backward = (
        dict(zip(CATCH22, compute_catch22(signal), strict=True))
        for signal in (SIGNALS[0], SIGNALS[0][::-1])
    )
    assert backward["CO_trev_1_num"] == pytest.approx(-forward["CO_trev_1_num"])
    assert backward["CO_f1ecac"] == pytest.approx(forward["CO_f1ecac"])


@pytest.mark.parametrize("signal", [np.ones(100), np.arange(10.0), np.full(100, np.nan)])
def test_a_signal_that_does_not_vary_or_is_short_or_not_finite_is_refused(signal):
    with pytest.raises(InputDataError, match="finite signal that varies, of at least 20 samples"):
        compute_catch22(signal)
