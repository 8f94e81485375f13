"""One file that carries a version, with all that is known about it, from one MLflow to another."""
