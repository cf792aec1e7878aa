"""Surrogates of regional dynamics: what is trained, and how."""
