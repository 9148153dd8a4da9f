"""What every step is: the bases of sources, transforms, validations and sinks."""
