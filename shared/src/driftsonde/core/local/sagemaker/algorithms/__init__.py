"""Built-in algorithms: programs that keep the contract of SageMaker's own containers."""
