"""Tests of local SageMaker: the real control plane, a real S3 and SQS emulator, real child processes."""
