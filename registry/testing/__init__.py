"""What a test of Greenroom, or of something built on it, can rest on. Needs pytest."""
