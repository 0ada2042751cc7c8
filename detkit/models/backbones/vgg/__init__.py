"""VGG (Simonyan and Zisserman, ICLR 2015)."""
