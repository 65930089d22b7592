"""Data sets for neural operators: drawn, solved to a stated residual, verified, exported."""
