"""What runs a network in place of Keras: converted once, kept beside the run, compared before use."""
