"""Systems whose effective connectivity is known, and datasets made from them."""
