"""Figures, pages and the methods text."""
