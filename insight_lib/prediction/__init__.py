"""Stage 05: predict what customers will do, and check that the prediction can be trusted."""
