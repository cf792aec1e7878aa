"""Gradient descent on stacks of linear layers with ReLU between, by gradients written out.

For small networks the time of a training step is that of its many small operations, and for large
ones that of the passes over all weights; written out, and with all weights in one tensor, there
are few of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


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
        # Weights lie as (n_in, n_out), which products of few windows read a quarter faster.
        flat = [_turned(parameters[name].detach()).reshape(n_networks, -1) for name in names]
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
            [(self._matrix(_turned(of[weight])), self._row(of[bias])) for weight, bias in layers]
            for of in (self.parameters, slopes)
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
        """Return matrices stacked over networks, or the one matrix of a network alone."""
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

        The kernel is the one behind ``torch.optim.Adam(fused=True)``, whose bookkeeping takes as
        long as the products of a small network.
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


def stack_of(networks: Sequence[nn.Module]) -> ReluStack | None:
    """Return networks that are alike and plain stacks of layers as one; None for others.

    Parameters
    ----------
    networks
        Alike in shape; a plain stack names its layers by ``plain_layers()``.
    """
    layers: Sequence[str] = getattr(networks[0], "plain_layers", tuple)()
    if not layers:
        return None
    stacked, _ = torch.func.stack_module_state(list(networks))
    return ReluStack(stacked, [(f"{name}.weight", f"{name}.bias") for name in layers])


def _turned(stacked: Tensor) -> Tensor:
    """Return weights (n_networks, n_out, n_in) as (.., n_in, n_out), and biases as they are."""
    return stacked.mT if stacked.ndim == 3 else stacked


def _views(
    flat: Tensor, parameters: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Return parts of a flat tensor (n_networks, n_weights) in the shapes of the parameters."""
    views, start = {}, 0
    for name in names:
        shape = _turned(parameters[name]).shape
        stop = start + shape[1:].numel()
        views[name] = _turned(flat[:, start:stop].view(shape))
        start = stop
    return views
