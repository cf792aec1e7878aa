"""Virtual perturbation of a surrogate, and other measures of connectivity."""
