"""Minimisation by L-BFGS that begins in single precision and keeps what it has learnt.

Limited-memory BFGS (Nocedal and Wright 2006, algorithm 7.5) with a line search for the weak Wolfe
conditions. Differences of points and of gradients from single precision are kept when double
precision takes over, so that the end of a fit takes few further iterations. All products of the
differences with each other and with the gradient are taken at once (Chen, Wang and Zhou 2014,
"Large-scale L-BFGS using MapReduce").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.records import Array

Evaluate = Callable[[Array], tuple[float, Array]]

_MEMORY = 20  # pairs of differences that are kept
_DECREASE, _SLOPE = 1e-4, 0.9  # of the Wolfe conditions
_MOST_STEPS = 20  # that a line search tries


@dataclass(frozen=True, slots=True)
class Stage:
    """Part of a minimisation.

    Attributes
    ----------
    evaluate
        Returns value and gradient at a point; a large value, and no gradient, where the function
        does not exist.
    tolerance
        A stage ends once two consecutive iterations, of which the first may be the last one of
        the stage before, each lower the value by no more than this.
    late_tolerance
        The same after ``N_EARLY`` iterations of all stages: what is left then is soft.
    rounding
        Relative error of the value. No shorter step is tried where the slope promises less.
    """

    N_EARLY = 50

    evaluate: Evaluate
    tolerance: float
    late_tolerance: float
    rounding: float = 0.0

    def is_over(self, decreases: Sequence[float], iteration: int) -> bool:
        """Return whether the last iterations changed the value too little."""
        tolerance = self.tolerance if iteration <= self.N_EARLY else self.late_tolerance
        return len(decreases) >= 2 and max(decreases[-2:]) <= tolerance


@dataclass(frozen=True, slots=True, eq=False)
class _Iterate:
    """A point with the value and the gradient there."""

    point: Array
    value: float
    gradient: Array


def minimise(stages: Sequence[Stage], start: Array, max_iterations: int) -> Array:
    """Minimise a function by L-BFGS.

    Parameters
    ----------
    stages
        The function in increasing precision.
    start
        Initial point; returned if no step lowers the value.
    max_iterations
        Number of iterations at most, over all stages.

    Returns
    -------
    Array
        The point of lowest value.

    Examples
    --------
    >>> def bowl(x):
    ...     return float(x[0] ** 2 + 100 * (x[1] - 1) ** 2), np.array([2 * x[0], 200 * (x[1] - 1)])
    >>> (minimise([Stage(bowl, 1e-12, 1e-12)], np.array([3.0, 3.0]), 50).round(4) + 0.0).tolist()
    [0.0, 1.0]
    """
    memory, point, iteration = _Memory(len(start)), start, 0
    decreases: list[float] = []
    for stage in stages:
        iterate = _Iterate(point, *stage.evaluate(point))
        if iteration and not iterate.gradient.any():  # where lower precision led is no such point
            memory.clear()
            iterate, iteration = _Iterate(start, *stage.evaluate(start)), 0
            decreases = []
        while iteration < max_iterations and iterate.gradient.any():
            following = _descend(stage, iterate, memory)
            if following is None:
                # What an earlier stage cannot lower is below its precision.
                if not memory.n_pairs or stage is not stages[-1]:
                    break
                memory.clear()  # its direction was of no use; that of the gradient may be
                continue
            decreases.append(iterate.value - following.value)
            iterate, iteration = following, iteration + 1
            if stage.is_over(decreases, iteration):
                break
        point = iterate.point
    return point


def _descend(stage: Stage, iterate: _Iterate, memory: _Memory) -> _Iterate | None:
    """Return the next iterate, and keep what leads to it; None if no step lowers the value."""
    direction = memory.direction(iterate.gradient)
    slope = float(iterate.gradient @ direction)
    if not slope < 0:
        return None
    first = 1.0 if memory.n_pairs else min(1.0, 1 / math.sqrt(-slope))
    following = _search(stage, iterate, direction, slope, first)
    if following is not None:
        memory.add(following.point - iterate.point, following.gradient - iterate.gradient)
    return following


def _search(
    stage: Stage, iterate: _Iterate, direction: Array, slope: float, step: float
) -> _Iterate | None:
    """Return an iterate that meets the weak Wolfe conditions, else the last that is lower."""
    low, high, lower = 0.0, math.inf, None
    for _ in range(_MOST_STEPS):
        point = iterate.point + step * direction
        tried = _Iterate(point, *stage.evaluate(point))
        change = tried.value - iterate.value
        if not change <= _DECREASE * step * slope:
            high = step
            # The minimum of the parabola through both values, with the slope at the iterate.
            bend = change - slope * step
            guess = -slope * step**2 / (2 * bend) if 0 < bend < math.inf else 0.0
            step = min(max(guess, low + 0.1 * (high - low)), low + 0.5 * (high - low))
            if -slope * step < stage.rounding * abs(iterate.value):
                break
            continue
        lower, low = tried, step
        if float(tried.gradient @ direction) >= _SLOPE * slope:
            break
        step = 2 * step if math.isinf(high) else (low + high) / 2
    return lower


class _Memory:
    """Pairs of differences of points and of gradients, and the direction that they give."""

    def __init__(self, size: int) -> None:
        # Rows are differences of points and of gradients by turns; the oldest pair is overwritten.
        self._differences = np.zeros((2 * _MEMORY, size))
        self._products = np.zeros((2 * _MEMORY, 2 * _MEMORY))
        self._order: list[int] = []

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self._order)

    def clear(self) -> None:
        """Forget all pairs."""
        self._order = []

    def add(self, difference: Array, change: Array) -> None:
        """Keep a pair if the curvature along it is positive."""
        if not float(difference @ change) > 1e-10 * float(change @ change):
            return
        if len(self._order) == _MEMORY:
            self._order.append(self._order.pop(0))
        else:
            self._order.append(len(self._order))
        row, used = 2 * self._order[-1], 2 * len(self._order)
        self._differences[row], self._differences[row + 1] = difference, change
        rows = slice(row, row + 2)
        products = self._differences[:used] @ self._differences[rows].T
        self._products[:used, rows], self._products[rows, :used] = products, products.T

    def direction(self, gradient: Array) -> Array:
        """Return minus the approximate inverse Hessian times the gradient.

        The two loops run over coefficients of the differences; ``along`` are the products of the
        differences with the vector that they have made so far.
        """
        if not self._order:
            return -gradient
        used = 2 * len(self._order)
        differences, products = self._differences[:used], self._products[:used, :used]
        along, coefficients, weights = -(differences @ gradient), np.zeros(used), []
        for pair in reversed(self._order):
            point, change = 2 * pair, 2 * pair + 1
            weight = along[point] / products[point, change]
            coefficients[change] -= weight
            along = along - weight * products[change]
            weights.append(weight)
        point, change = 2 * self._order[-1], 2 * self._order[-1] + 1
        scale = products[point, change] / products[change, change]
        coefficients, along = scale * coefficients, scale * along
        for pair, weight in zip(self._order, reversed(weights), strict=True):
            point, change = 2 * pair, 2 * pair + 1
            rise = weight - along[change] / products[point, change]
            coefficients[point] += rise
            along = along + rise * products[point]
        direction: Array = coefficients @ differences - scale * gradient
        return direction
