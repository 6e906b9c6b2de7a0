"""The volt-var problem for learners: what they see, what they move, and the closed loop in which they do so."""
