"""Recovery of known connectivity, comparison of maps of any origin, and power."""
