"""Our environments in the forms that other projects expect."""
