// The target Training.
