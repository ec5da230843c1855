"""What requests mean: each command one declaration and one short function. Pure."""
