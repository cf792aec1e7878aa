"""Whole-brain models fitted to a subject (``--surrogate wbm``)."""
