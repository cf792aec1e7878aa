"""Surrogates of regional dynamics, and their training."""
