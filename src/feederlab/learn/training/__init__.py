"""The parts of a training: networks, algorithms, the environments as subjects, what a checkpoint remembers."""
