"""Readers of images and volumes behind one `Source`: any size, any format, one window at a time."""
