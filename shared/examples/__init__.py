"""Examples of how to use the library, in the domain of a lending library: its README shows them."""
