"""`./ftgo demo`: takes orders through their whole life cycle on a running system."""
