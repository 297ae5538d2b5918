"""Learning curves: how a training went, round by round and part by part, as a drawing."""
