"""Members of the lending library: a whole service with an event-sourced aggregate and an HTTP API."""
