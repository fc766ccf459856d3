"""Books of the lending library: a service with a saga, which asks the members' service whether a loan is all right."""
