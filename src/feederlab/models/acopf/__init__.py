"""Exact AC optimal power flow: written in Pyomo, extracted once into arrays, solved by Ipopt."""
