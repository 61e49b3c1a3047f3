// The target Autograd.
