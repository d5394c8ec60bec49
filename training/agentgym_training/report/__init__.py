"""Reports of runs: `measure` counts what stores hold, `runs` reads a run's folder, `page` and `markdown` write it down."""
