"""Learning and measuring: evaluation, statistics, reports, the command line."""
