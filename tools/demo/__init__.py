"""`./ftgo demo`: orders live their whole life, on a running system."""
