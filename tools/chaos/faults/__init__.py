"""The faults, one module each. `fault.Fault` says what one is."""
