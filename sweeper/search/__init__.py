"""Try them: the space, the score, screening, the joint study, when to stop (the only room that
names optuna)."""
