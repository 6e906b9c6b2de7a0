"""A feeder over a horizon: stages, plans, their exact price and derivatives, and the programs that improve a plan."""
