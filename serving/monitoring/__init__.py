"""Watches a model by its predictions: whether what comes in has drifted, and how good the answers were."""
