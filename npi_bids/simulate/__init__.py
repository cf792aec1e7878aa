"""Systems whose effective connectivity is known, and datasets simulated from them."""
