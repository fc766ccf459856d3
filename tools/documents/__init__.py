"""Documents that are made from the code: they can't say anything else than it does."""
