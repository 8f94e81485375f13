"""The commands of the ground floor, a module each."""
