"""Run a program unmodified, under seams where it can be watched and changed."""
