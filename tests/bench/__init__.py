"""`make bench`: what driftsonde costs, against decoding alone and against other tools. Not part of the test suite: it asserts no times."""
