"""Commands that run inside SageMaker Processing jobs: `prepare` and `evaluate`. A recipe may put its own image in their place."""
