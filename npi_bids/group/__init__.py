"""The group level: who belongs to a group, what it shares, and what is tested."""
