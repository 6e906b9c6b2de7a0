"""Branch-flow models of radial feeders: exact, relaxed to a convex cone, and linear."""
