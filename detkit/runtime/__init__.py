"""What the machine gives a run: its cores, and threads to use them."""
