"""Gradient descent on stacks of linear layers with ReLU between, with explicit gradients.

The time of a training step is dominated by its many small operations in small networks, and by
passes over all weights in large ones; explicit gradients, with all weights in one tensor, need few
of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class ReluStack:
    """Several networks of the same shape, trained side by side on separate data.

    Parameters
    ----------
    parameters
        Weights of shape (n_networks, n_out, n_in) and biases of shape (n_networks, n_out) by name,
        stacked over networks. They are copied.
    layers
        Names of weight and bias of each layer, starting at the input, with ReLU between layers.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], layers: Sequence[tuple[str, str]]
    ) -> None:
        names = [name for layer in layers for name in layer]
        n_networks = len(parameters[names[0]])
        # Stored as (n_in, n_out), which is a quarter faster in products of few windows.
        flat = [
            _transpose_weights(parameters[name].detach()).reshape(n_networks, -1) for name in names
        ]
        self.values = torch.cat(flat, dim=1)
        self.gradients, self._first, self._second = (
            torch.zeros_like(self.values) for _ in range(3)
        )
        self._step = torch.zeros((), device=self.values.device)
        self.parameters = _views(self.values, parameters, names)
        slopes = _views(self.gradients, parameters, names)
        # A plain product takes half the time of a batched product of one small network.
        self._alone = n_networks == 1
        self._multiply = torch.mm if self._alone else torch.bmm
        self._multiply_add = torch.addmm if self._alone else torch.baddbmm
        self._layers, self._slopes = (
            [
                (self._matrix(_transpose_weights(tensors[weight])), self._row(tensors[bias]))
                for weight, bias in layers
            ]
            for tensors in (self.parameters, slopes)
        )

    def predict(self, inputs: Tensor) -> Tensor:
        """Predict, from shape (n_networks, n_windows, n_in)."""
        predicted = self._forward(self._matrix(inputs))[-1]
        return predicted.unsqueeze(0) if self._alone else predicted

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
        states = self._forward(self._matrix(inputs))
        error = states[-1] - self._matrix(targets)
        losses = error.square().mean(dim=(-2, -1))
        back = error.mul_(2 / targets[0].numel())
        for number in reversed(range(len(self._layers))):
            below = states[number]
            weight_slope, bias_slope = self._slopes[number]
            self._multiply(below.mT, back, out=weight_slope)
            torch.sum(back, dim=-2, keepdim=not self._alone, out=bias_slope)
            if number:
                back = self._multiply(back, self._layers[number][0].mT)
                back = torch.ops.aten.threshold_backward(back, below, 0)
        self._adam(rate, weight_decay)
        return losses.reshape(-1)

    def _matrix(self, stacked: Tensor) -> Tensor:
        """Return matrices stacked over networks, or the matrix of a single network."""
        return stacked.squeeze(0) if self._alone else stacked

    def _row(self, stacked: Tensor) -> Tensor:
        """Return biases (n_networks, n_out) in a shape that adds to ``_matrix``."""
        return stacked.squeeze(0) if self._alone else stacked.unsqueeze(1)

    def _forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the input, every hidden layer after its ReLU, and the prediction."""
        states = [inputs]
        for number, (weight, bias) in enumerate(self._layers, start=1):
            state = self._multiply_add(bias, states[-1], weight)
            states.append(state.relu_() if number < len(self._layers) else state)
        return states

    def _adam(self, rate: float, weight_decay: float) -> None:
        """Take a step of Adam (Kingma and Ba 2015, arXiv:1412.6980).

        The kernel is that of ``torch.optim.Adam(fused=True)``, whose bookkeeping takes as long as
        the products of a small network.
        """
        self._step += 1
        torch._fused_adam_(
            [self.values],
            [self.gradients],
            [self._first],
            [self._second],
            [],
            [self._step],
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


def stack_networks(networks: Sequence[nn.Module]) -> ReluStack | None:
    """Join networks of the same shape that are plain stacks of layers; None for others.

    Parameters
    ----------
    networks
        Networks of the same shape; a plain stack names its layers by ``plain_layers()``.
    """
    layers: Sequence[str] = getattr(networks[0], "plain_layers", tuple)()
    if not layers:
        return None
    stacked, _ = torch.func.stack_module_state(list(networks))
    return ReluStack(stacked, [(f"{name}.weight", f"{name}.bias") for name in layers])


def _transpose_weights(stacked: Tensor) -> Tensor:
    """Return weights (n_networks, n_out, n_in) as (.., n_in, n_out), and biases as they are."""
    return stacked.mT if stacked.ndim == 3 else stacked


def _views(
    flat: Tensor, parameters: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Return parts of a flat tensor (n_networks, n_weights) in the shapes of the parameters."""
    views, start = {}, 0
    for name in names:
        shape = _transpose_weights(parameters[name]).shape
        stop = start + shape[1:].numel()
        views[name] = _transpose_weights(flat[:, start:stop].view(shape))
        start = stop
    return views
