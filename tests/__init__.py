"""The tests; a package, because a dependency of SageMaker installs one of this name too."""
