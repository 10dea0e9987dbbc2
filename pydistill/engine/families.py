"""Where methods are found."""

FAMILIES = ("selection", "performance", "distribution", "parameter")
"""The folders of the families, each a package whose modules register methods."""
USUAL_TASKS = ("classification",)
"""What a method serves that names no tasks."""
