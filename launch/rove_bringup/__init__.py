"""Launch files, node parameters, and the `rove` runner: `rove launch`, `rove run`, `rove demo`."""
