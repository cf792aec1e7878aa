"""Virtual perturbation of a surrogate, and other matrices of connectivity."""
