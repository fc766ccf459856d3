"""Real PostgreSQL 18 and a real nats-server from their wheels: nothing has to be installed beforehand.

Each is described by a dataclass: `prepare()` makes its folder ready, `program()` says how to run it, `ready()` whether
it answers. The supervisor and the tests run the programs each in their own way.
"""
