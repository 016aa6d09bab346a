"""Local SageMaker: a control plane that speaks AWS's protocol and really runs the jobs on this machine.

Start it with `python -m driftsonde.core.local.sagemaker --help`. Clients reach it by `AWS_ENDPOINT_URL_SAGEMAKER`.

How the modules depend on one another, from the pure ones up:

kinds, columns, rollout, search -> rules   what AWS allows; no I/O
registry, notify -> progress, account   what is known of each resource, and who is told of a change
objects, process, container -> serving   S3, child process groups, the `opt/ml` tree, a model's server
training, processing, transform -> runner   how each kind of job is done, and when
paging -> tuning   jobs that are made of training jobs
pipelines   pipelines of one command, and their executions
capture, fleet, views -> hosting   endpoints: servers, traffic, deployments
faults, endpoints -> operations, invocations -> api   what clients reach
"""
