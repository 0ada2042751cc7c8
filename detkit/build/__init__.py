"""Config -> objects, one file per family: `build.detector`, `build.data`, `build.training`."""
