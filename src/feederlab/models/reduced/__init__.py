"""Exact AC optimal power flow in the setpoints alone: sequential quadratic programming on solved power flows."""
