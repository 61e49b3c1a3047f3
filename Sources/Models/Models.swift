// The target Models.
