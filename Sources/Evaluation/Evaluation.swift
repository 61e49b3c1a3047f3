// The target Evaluation.
