"""Arrays in, arrays out: numpy, scipy and torch, nothing else."""
