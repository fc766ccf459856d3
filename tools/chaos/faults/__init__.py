"""The faults, one module each. `fault.Fault` defines what a fault is."""
