"""Measures the system on the machine that it runs on."""
