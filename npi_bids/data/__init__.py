"""Facts that ship with the package: atlases, region tables, references."""
