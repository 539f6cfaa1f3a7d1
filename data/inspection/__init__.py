"""What a data set holds, what looks wrong in it, and whether it differs from another."""
