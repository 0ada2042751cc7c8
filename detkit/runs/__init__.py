"""One run of a config: where it runs, its folder, its results, and the models it leaves."""
