"""What actions of devices do to voltages, by three models, and the least change of actions that keeps a band."""
