from __future__ import annotations

import numpy as np

from npi_bids.assessment.uncertainty import fdr_q_values


def test_q_ignores_what_was_not_tested():
    q = fdr_q_values(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])
