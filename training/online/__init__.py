"""Learning while the truth arrives: each event is first scored by the present model, then learned from."""
