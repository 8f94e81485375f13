"""The questions a version must answer before it moves, each a pure decision over evidence."""
