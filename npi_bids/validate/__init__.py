"""How well known connectivity is recovered, and how maps of any origin agree."""
