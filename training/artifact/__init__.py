"""The files that travel inside a model; they import nothing of Greenroom's."""
