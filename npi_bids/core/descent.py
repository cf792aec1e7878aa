"""Gradient descent on stacks of linear layers with ReLU between, by gradients written out.

For small networks the time of a training step is that of its many small operations; written out,
and with all weights in one tensor, a step takes a third of what automatic differentiation takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# Adam (Kingma and Ba 2015, arXiv:1412.6980), as torch has it by default.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class ReluStack:
    """Several networks alike, trained side by side on data of their own.

    Parameters
    ----------
    parameters
        By name, weights of shape (n_networks, n_out, n_in) and biases of shape (n_networks,
        n_out), stacked over networks. They are copied.
    layers
        Names of weight and bias of each layer, from the input on; ReLU stands between layers.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], layers: Sequence[tuple[str, str]]
    ) -> None:
        names = [name for layer in layers for name in layer]
        n_networks = len(parameters[names[0]])
        flat = [parameters[name].detach().reshape(n_networks, -1) for name in names]
        self.values = torch.cat(flat, dim=1)
        self.gradients, self._first, self._second, self._scratch = (
            torch.zeros_like(self.values) for _ in range(4)
        )
        self._n_steps = 0
        self.parameters = _views(self.values, parameters, names)
        slopes = _views(self.gradients, parameters, names)
        self._layers = [
            (self.parameters[weight].transpose(1, 2), self.parameters[bias].unsqueeze(1))
            for weight, bias in layers
        ]
        self._slopes = [(slopes[weight], slopes[bias]) for weight, bias in layers]

    def predict(self, inputs: Tensor) -> Tensor:
        """Predict, from shape (n_networks, n_windows, n_in)."""
        return self._forward(inputs)[-1]

    def descend(
        self, inputs: Tensor, targets: Tensor, *, rate: float, weight_decay: float
    ) -> Tensor:
        """Take one step of Adam on the mean squared error of each network.

        Parameters
        ----------
        inputs, targets
            Shapes (n_networks, n_windows, n_in) and (n_networks, n_windows, n_out).
        rate, weight_decay
            Step size, and L2 penalty, which is added to the gradient.

        Returns
        -------
        Tensor
            Error of each network before the step, shape (n_networks,).
        """
        states = self._forward(inputs)
        error = states[-1] - targets
        losses = error.square().mean(dim=(1, 2))
        back = error.mul_(2 / targets[0].numel())
        for number in reversed(range(len(self._layers))):
            below = states[number]
            weight_slope, bias_slope = self._slopes[number]
            torch.bmm(back.transpose(1, 2), below, out=weight_slope)
            torch.sum(back, dim=1, out=bias_slope)
            if number:
                back = torch.bmm(back, self._layers[number][0].transpose(1, 2))
                back.mul_(below > 0)
        self._adam(rate, weight_decay)
        return losses

    def _forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the input, every hidden layer after its ReLU, and the prediction."""
        states = [inputs]
        for number, (weight, bias) in enumerate(self._layers, start=1):
            state = torch.baddbmm(bias, states[-1], weight)
            states.append(state.relu_() if number < len(self._layers) else state)
        return states

    def _adam(self, rate: float, weight_decay: float) -> None:
        self._n_steps += 1
        slope = self.gradients.add_(self.values, alpha=weight_decay)
        self._first.lerp_(slope, 1 - _BETA_1)
        self._second.mul_(_BETA_2).addcmul_(slope, slope, value=1 - _BETA_2)
        first = 1 - _BETA_1**self._n_steps
        second = (1 - _BETA_2**self._n_steps) ** 0.5
        torch.sqrt(self._second, out=self._scratch).add_(_EPSILON * second)
        self.values.addcdiv_(self._first, self._scratch, value=-rate * second / first)


def stack_of(networks: Sequence[nn.Module], most: int) -> ReluStack | None:
    """Return networks that are alike, small, and plain stacks of layers, as one; None for others.

    Parameters
    ----------
    networks
        Alike in shape; a plain stack names its layers by ``plain_layers()``.
    most
        Weights of a network above which its products, and not its steps, take the time.
    """
    layers: Sequence[str] = getattr(networks[0], "plain_layers", tuple)()
    if not layers or sum(p.numel() for p in networks[0].parameters()) > most:
        return None
    stacked, _ = torch.func.stack_module_state(list(networks))
    return ReluStack(stacked, [(f"{name}.weight", f"{name}.bias") for name in layers])


def _views(
    flat: Tensor, parameters: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Return parts of a flat tensor (n_networks, n_weights) in the shapes of the parameters."""
    views, start = {}, 0
    for name in names:
        shape = parameters[name].shape
        stop = start + shape[1:].numel()
        views[name] = flat[:, start:stop].view(shape)
        start = stop
    return views
