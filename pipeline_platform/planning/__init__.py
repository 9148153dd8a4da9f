"""What a change of pipeline files does, told before anything runs."""
