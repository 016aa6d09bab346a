"""Local SageMaker: a control plane that speaks AWS's protocol and really runs the jobs on this machine.

Start it with `python -m driftsonde.core.local.sagemaker --help`. Clients reach it by `AWS_ENDPOINT_URL_SAGEMAKER`.

How the modules depend on one another, from the pure ones up:

kinds, columns, rules          what AWS allows; no I/O
registry, notify -> progress   what is known of each resource, and who is told of a change
objects, process, container    S3, child process groups, the `opt/ml` tree
training, processing, transform -> runner   how each kind of job is done, and when
faults, operations -> api      what clients reach
"""
