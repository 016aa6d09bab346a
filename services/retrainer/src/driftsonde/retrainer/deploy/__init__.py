"""How a promoted model gets to a real-time endpoint.

model                                       what a strategy sees, and the steps it may answer; pure
single, canary, linear, shadow, bandit      one strategy each; pure
thompson, evidence                          the bandit's arithmetic; what labels and captures say; pure
tables, gather -> deployer                  what is remembered, what is read from S3, and who does what a strategy says
"""
