"""Repairs that operators do by hand: one set of operations, for the command line and for HTTP."""
