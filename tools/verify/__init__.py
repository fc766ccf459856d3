"""What must hold in the whole system, checked over the state of all services' databases and the stream."""
