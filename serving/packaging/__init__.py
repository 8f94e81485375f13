"""A scoring server as a container: the folder that an image is built from."""
