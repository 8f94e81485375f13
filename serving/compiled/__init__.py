"""A model as a plan: the same answers as MLflow's own code for the requests it knows, without MLflow.

:mod:`.compiler` makes the plan's files from an artifact, :mod:`.plan` answers from them in a worker.
"""
