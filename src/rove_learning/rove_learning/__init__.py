"""Learning from imperfect interventions: rewards, optimistic value estimation, advantage labels, flow-matching actor (Algorithm 1)."""
