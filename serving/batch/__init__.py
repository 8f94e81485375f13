"""Scores whole tables with one version, each row exactly once, whatever is killed on the way."""
