"""Assessment of results: quality, uncertainty, expected accuracy, hazards and verdict."""
