"""Columns of participants for tests of designs, and a value of each participant."""

from __future__ import annotations

import numpy as np
import pandas as pd

from npi_bids.group.design import subject_frame

RNG = np.random.default_rng(3)
N = 40

ROWS = [
    {"participant_id": f"sub-{n}", "mean_fd": 0.1 * n, "group": "patient" if n % 2 else "control",
     "age": str(20 + n * n), "sex": "MFFM"[n % 4], "site": "abc"[n % 3]}
    for n in range(12)
]  # fmt: skip

TABLE = subject_frame(ROWS)

MANY = pd.DataFrame({
    "participant_id": [f"sub-{n:02d}" for n in range(N)],
    "age": 20 + 50 * RNG.random(N),
    "dose": 1 + RNG.random(N),
    "group": [("control", "patient")[n % 2] for n in range(N)],
    "sex": [("F", "M")[n // 2 % 2] for n in range(N)],
    "site": RNG.choice([1.0, 2.0, 3.0], N),
})  # fmt: skip

MAP = RNG.standard_normal(N) + 0.02 * MANY["age"] * (MANY["group"] == "patient")

AMBIGUOUS = MANY.assign(arm=["ba"[n % 3 > 0] for n in range(N)],
                        sex=["ab"[n // 2 % 2] for n in range(N)],
                        group=[("non-smoker", "smoker")[n % 2] for n in range(N)])  # fmt: skip
