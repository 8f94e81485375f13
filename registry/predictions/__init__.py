"""What was predicted and what turned out to be true: an append-only log of Parquet files."""
