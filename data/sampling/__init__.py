"""Which windows to train on, and the batches made of them."""
