"""How planners are trained: the waypoint predictor, the walks of an oracle, and what is learned from both."""
