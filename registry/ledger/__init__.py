"""The history of one model: entries that can be written once, and what they add up to."""
