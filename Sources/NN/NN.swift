// The target NN.
