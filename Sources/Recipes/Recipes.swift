// The target Recipes.
