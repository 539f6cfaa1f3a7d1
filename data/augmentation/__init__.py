"""Random changes of images and their labels."""
