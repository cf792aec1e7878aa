"""Images in, regional series out."""
