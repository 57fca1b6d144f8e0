"""What happened in a run: recorder on the seams, run-record files."""
