"""Writers of masks and probabilities: window by window, in bounded memory, all or nothing."""
