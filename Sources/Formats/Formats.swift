// The target Formats.
