"""From data to a candidate version: jobs that train, measure and log to MLflow."""
