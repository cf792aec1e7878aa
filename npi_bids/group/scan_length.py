"""Whether what is tested over subjects goes along with the length of their scans."""

from __future__ import annotations

import numpy as np

from npi_bids.group.glm import Contrast, Design, depends_on_mean
from npi_bids.records import Array
from npi_bids.wording import rounded

# Correlation of what is tested with the number of windows above which a test carries a caution.
LARGEST_CORRELATION = 0.5
_SIMILAR = 0.05  # share of the longest scan by which scans may differ and count as equally long


def blank_similar_lengths(n_windows: Array) -> Array:
    """Return numbers of windows; NaN if all of them are about the same.

    A few windows more or less, which a group may have throughout, change no map.

    >>> blank_similar_lengths(np.array([298.0, 300.0])).tolist()
    [nan, nan]
    """
    if np.isfinite(n_windows).all() and np.ptp(n_windows) <= _SIMILAR * n_windows.max():
        return np.full_like(n_windows, np.nan)
    return n_windows


def correlate_with_windows(design: Design, contrast: Contrast, n_windows: Array) -> float:
    """Return the correlation of what a contrast tests with the number of windows of the subjects.

    What it tests is the regressor without the part that the other columns of the model explain, so
    that it is 0 where the number of windows is a covariate. For several rows it is the multiple
    correlation. Where the mean of subjects is tested, neither the regressor nor the number is
    centred: it is 1 if the number changes between sessions by the same amount in every subject.

    Parameters
    ----------
    design, contrast
        The explanatory variables, and the hypothesis to test.
    n_windows
        Shape (n_subjects,); in a model over sessions, the effect of each subject on it.

    Returns
    -------
    float
        Absolute value; NaN where a number of windows is not known, or where it does not vary.

    Examples
    --------
    >>> matrix = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    >>> group = Contrast("group", np.array([[0.0, 1.0]]))
    >>> design = Design(matrix, ("one", "group"), (group,), np.zeros(4))
    >>> round(correlate_with_windows(design, group, np.array([150.0, 150.0, 400.0, 400.0])), 6)
    1.0
    """
    length, regressors = n_windows, np.linalg.pinv(design.matrix).T @ contrast.matrix.T
    if not depends_on_mean(design, contrast):
        length, regressors = length - length.mean(), regressors - regressors.mean(axis=0)
    if not np.isfinite(length).all() or not np.any(length):
        return float("nan")
    basis, _ = np.linalg.qr(regressors)
    return float(np.linalg.norm(basis.T @ length) / np.linalg.norm(length))


def describe_length(correlation: float, *, paired: bool = False) -> str:
    """Return the caution about a test that goes along with the length of scans, or nothing.

    ``paired`` tests are of differences between two sessions of the same subjects.
    """
    if not correlation > LARGEST_CORRELATION:
        return ""
    if paired:
        return (
            f"What is tested goes along with the change of the number of windows between the "
            f"sessions (|r| = {rounded(correlation)}). The maps of both are shrunk by the same "
            "share, but what the model of each chose (whitening, memory, VAR or process) can "
            "depend on the length of the scan, and so can motion and drowsiness. Cut the scans of "
            "both sessions to the same length."
        )
    return (
        f"What is tested correlates with the number of windows of the subjects (|r| = "
        f"{rounded(correlation)}). Their maps are shrunk by the same share, but what the model of "
        "each subject chose (whitening, memory, VAR or process) can depend on the length of the "
        "scan, and so can motion and drowsiness. Match the subjects, cut the scans to the same "
        "length, or add minutes to --model."
    )
