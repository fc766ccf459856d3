"""Measures the system on the machine at hand."""
