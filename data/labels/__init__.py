"""Labels: what their values mean, and the forms that they come in."""
