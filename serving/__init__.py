"""From production to answers: the scoring server that follows a stage."""
