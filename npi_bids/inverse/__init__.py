"""Inverse modelling: posteriors of the parameters of whole-brain models."""
