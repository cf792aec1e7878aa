"""The group level: selection of subjects, description of their maps, and tests."""
