"""Where: run children on slots, supervise them, never repeat a finished run (the only room that
names joblib)."""
